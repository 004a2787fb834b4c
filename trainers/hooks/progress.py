"""Shows how far a fit is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from trainers.hooks.base import Hook

if TYPE_CHECKING:
    from trainers.trainer import Trainer

log = logging.getLogger(__name__)


class ProgressHook(Hook):
    """A bar for epochs and one for batches on a terminal, and a log line an epoch; process 0 only.

    Args:
        title: Of the fit, e.g. ``fused 50 %``.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._epochs: tqdm[Any] | None = None
        self._batches: tqdm[Any] | None = None

    def before_fit(self, trainer: Trainer) -> None:
        """Open the epoch bar."""
        if trainer.fabric.is_global_zero:
            self._epochs = tqdm(
                total=trainer.config.epochs,
                initial=trainer.epoch,
                desc=self.title,
                unit="epoch",
                leave=False,
                disable=None,
                dynamic_ncols=True,
            )

    def before_epoch(self, trainer: Trainer) -> None:
        """Open the batch bar."""
        if self._epochs is not None:
            self._batches = tqdm(
                total=len(trainer.train_batches),
                initial=trainer.step_in_epoch,
                desc=f"epoch {trainer.epoch + 1}",
                unit="batch",
                leave=False,
                disable=None,
                dynamic_ncols=True,
            )

    def after_step(self, trainer: Trainer) -> None:
        """Move the batch bar."""
        if self._batches is not None:
            self._batches.set_postfix(loss=f"{trainer.loss:.3f}", refresh=False)
            self._batches.update()

    def after_validation(self, trainer: Trainer) -> None:
        """Close the batch bar and log the epoch."""
        if self._batches is not None:
            self._batches.close()
        if self._epochs is None:
            return
        metrics = trainer.metrics
        log.info(
            "%s %d/%d: loss %.4f (val %.4f)%s, %.0f images/s",
            self.title,
            trainer.epoch + 1,
            trainer.config.epochs,
            metrics["train/loss"],
            metrics["val/loss"],
            f", val accuracy {metrics['val/accuracy']:.3f}" if "val/accuracy" in metrics else "",
            trainer.images_per_second,
        )

    def after_epoch(self, trainer: Trainer) -> None:
        """Move the epoch bar."""
        if self._epochs is not None:
            self._epochs.update()

    def after_fit(self, trainer: Trainer) -> None:
        """Close both bars."""
        for bar in (self._batches, self._epochs):
            if bar is not None:
                bar.close()
