"""Training of the autoencoder."""

# B batch

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.losses import ssim_loss
from trainers.outputs import Outputs
from trainers.trainer import Trainer


class AutoencoderTrainer(Trainer):
    """Fits an autoencoder with 1 - SSIM; its outputs are the losses of the images."""

    def compute_loss(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the losses of the images (B, 1)."""
        model = self.model if torch.is_grad_enabled() else self.model.module
        with self.fabric.autocast():
            reconstructions = model(batch["image"])
        losses = ssim_loss(reconstructions, batch["image"])
        return losses.mean(), losses[:, None]

    def metrics_of(self, outputs: Outputs) -> dict[str, float]:
        """Return ``loss``, the mean of 1 - SSIM, and ``ssim``."""
        loss = outputs.values.mean().item()
        return {"loss": loss, "ssim": 1 - loss}

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Return reconstructions, float (B, 3, S, S), of uint8 images of the same shape."""
        model = self.model.module
        training = model.training
        model.eval()
        with self.fabric.autocast():
            reconstructions: Tensor = model(self._to_float(images.to(self.fabric.device))).float()
        model.train(training)
        return reconstructions
