"""Training of classifiers: cells from images and stored features, or tiles from images."""

# B batch, K classes

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from trainers.config import TrainerConfig
from trainers.hooks.base import Hook
from trainers.metrics import epoch_metrics
from trainers.trainer import Outputs, Trainer, TrainingData


class ClassifierTrainer(Trainer):
    """Fits a classifier with cross-entropy; its outputs are logits."""

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        train_data: TrainingData,
        val_data: TrainingData,
        config: TrainerConfig,
        hooks: Sequence[Hook],
    ) -> None:
        super().__init__(fabric, model, train_data, val_data, config, hooks)
        self.classes = train_data.classes
        self._class_weights: Tensor | None = None
        if config.class_weights:
            weights = inverse_frequency_weights(train_data.labels, len(self.classes))
            self._class_weights = weights.to(fabric.device)

    def compute_loss(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the (weighted) cross-entropy in nats and the logits (B, K)."""
        inputs = [batch["image"], batch["features"]] if batch["features"] else [batch["image"]]
        model = self.model if torch.is_grad_enabled() else self.model.module
        with self.fabric.autocast():
            logits = model(*inputs).float()
        loss = functional.cross_entropy(logits, batch["label"], weight=self._class_weights)
        return loss, logits

    def metrics_of(self, outputs: Outputs) -> dict[str, float]:
        """Return unweighted loss, accuracy, balanced accuracy, macro F1 and loss by class."""
        return epoch_metrics(outputs.values, outputs.labels, self.classes)


def inverse_frequency_weights(labels: Sequence[int], num_classes: int) -> Tensor:
    """Return float (K,) weights total / (K x count); a class that is absent weighs 0."""
    counts = Counter(labels)
    return torch.tensor(
        [
            len(labels) / (num_classes * counts[index]) if counts[index] else 0.0
            for index in range(num_classes)
        ]
    )
