"""Training of classifiers: cells from images and stored features, or tiles from images."""

# B batch, K classes

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainers.metrics import epoch_metrics
from trainers.outputs import Outputs
from trainers.trainer import Trainer


class ClassifierTrainer(Trainer):
    """Fits a classifier with cross-entropy; its outputs are logits."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the label indices."""
        return self.train_data.classes

    def compute_loss(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the (weighted) cross-entropy in nats, plus penalties, and the logits (B, K)."""
        inputs = [batch["image"], batch["features"]] if batch["features"] else [batch["image"]]
        model = self.model if torch.is_grad_enabled() else self.model.module
        with self.fabric.autocast():
            logits = model(*inputs).float()
        loss = functional.cross_entropy(logits, batch["label"], weight=self._class_weights)
        # What a regularised model adds to its loss; zero in evaluation.
        penalty = getattr(self.model.module, "penalty", None)
        return loss if penalty is None else loss + penalty, logits

    def weigh(self, labels: Tensor) -> Tensor:
        """Return the number of samples, or the sum of their classes' weights."""
        weights = self._class_weights
        return super().weigh(labels) if weights is None else weights[labels].sum()

    def metrics_of(self, outputs: Outputs) -> dict[str, float]:
        """Return unweighted loss, accuracy, balanced accuracy, macro F1 and loss by class."""
        return epoch_metrics(outputs.values, outputs.labels, self.classes)

    @cached_property
    def _class_weights(self) -> Tensor | None:
        if not self.config.class_weights:
            return None
        weights = inverse_frequency_weights(self.train_data.labels, len(self.classes))
        return weights.to(self.fabric.device)


def inverse_frequency_weights(labels: Sequence[int], num_classes: int) -> Tensor:
    """Return float (K,) weights total / (K x count); a class that is absent weighs 0."""
    counts = Counter(labels)
    return torch.tensor(
        [
            len(labels) / (num_classes * counts[index]) if counts[index] else 0.0
            for index in range(num_classes)
        ]
    )
