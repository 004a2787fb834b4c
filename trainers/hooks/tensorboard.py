"""Writes TensorBoard events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from trainers.hooks.base import Hook

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.trainer import Trainer

Picture = Callable[["Trainer"], NDArray[np.uint8]]
"""Draws something of the trainer's state as (H, W, 3)."""


class TensorBoardHook(Hook):
    """Scalars each step and epoch, pictures each few epochs; process 0 only.

    Tags: ``train/...`` and ``val/...`` metrics, ``optim/lr``, ``optim/gradient_norm`` (before
    clipping), ``speed/images_per_second``, and one a picture.

    Args:
        log_dir: The run folder.
        pictures: By tag. They are drawn by functions handed in, since trainers do not plot.
        pictures_every: Epochs between pictures; the last epoch always has them.
    """

    def __init__(
        self,
        log_dir: Path,
        pictures: Mapping[str, Picture] | None = None,
        pictures_every: int = 5,
    ) -> None:
        self.log_dir = log_dir
        self.pictures = dict(pictures or {})
        self.pictures_every = pictures_every
        self._writer: SummaryWriter | None = None

    def before_fit(self, trainer: Trainer) -> None:
        """Open the event file; events after the resumed step are dropped."""
        if trainer.fabric.is_global_zero:
            with _explain_failed_writes(self.log_dir):
                self._writer = SummaryWriter(str(self.log_dir), purge_step=trainer.global_step)

    def after_backward(self, trainer: Trainer) -> None:
        """Log the gradient norm before clipping."""
        self._log({"optim/gradient_norm": trainer.gradient_norm}, trainer.global_step)

    def after_step(self, trainer: Trainer) -> None:
        """Log the loss and the learning rate of the next step."""
        lr = trainer.optimizer.param_groups[0]["lr"]
        self._log({"train/step_loss": trainer.loss, "optim/lr": lr}, trainer.global_step)

    def after_validation(self, trainer: Trainer) -> None:
        """Log the epoch's metrics, speed and pictures."""
        if self._writer is None:
            return
        step = trainer.global_step
        self._log(trainer.metrics, step)
        self._log({"speed/images_per_second": trainer.images_per_second}, step)
        epoch = trainer.epoch + 1
        drawn = {}
        if epoch % self.pictures_every == 0 or epoch == trainer.config.epochs:
            drawn = {tag: draw(trainer) for tag, draw in self.pictures.items()}
        with _explain_failed_writes(self.log_dir):
            for tag, picture in drawn.items():
                self._writer.add_image(tag, picture, step, dataformats="HWC")
            self._writer.flush()

    def after_fit(self, trainer: Trainer) -> None:
        """Close the event file."""
        if self._writer is not None:
            with _explain_failed_writes(self.log_dir):
                self._writer.close()

    def _log(self, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            with _explain_failed_writes(self.log_dir):
                for tag, value in values.items():
                    self._writer.add_scalar(tag, value, step)


@contextmanager
def _explain_failed_writes(log_dir: Path) -> Iterator[None]:
    """Name the folder and the way out: the writer's thread raises what the disk said, no more."""
    try:
        yield
    except OSError as error:
        reason = f"Cannot write TensorBoard events ({error.strerror or error}). Free space or "
        reason += "mend the permissions, then pass --resume"
        raise OSError(error.errno, reason, str(log_dir)) from error


def log_pictures(log_dir: Path, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
    """Add pictures (H, W, 3) to a run's events after its fit, by tag.

    Raises:
        OSError: They cannot be written.
    """
    with _explain_failed_writes(log_dir), SummaryWriter(str(log_dir)) as writer:
        for tag, picture in pictures.items():
            writer.add_image(tag, picture, dataformats="HWC")
