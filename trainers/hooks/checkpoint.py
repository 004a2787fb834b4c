"""Keeps the best model and the newest whole state of a run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from datasets.files import write_whole
from trainers.checkpoint import save_checkpoint
from trainers.errors import InterruptedRunError
from trainers.hooks.base import Hook
from trainers.run import BEST_CHECKPOINT, LAST_CHECKPOINT, stage_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.trainer import Trainer


class CheckpointHook(Hook):
    """Writes ``best.ckpt`` (the model of least validation loss) and ``last.ckpt`` each epoch.

    Where a stage of the fit ends and another begins, the best model of it is kept as
    ``stage-1.ckpt`` and so on, and the search for the best starts anew. A stop by the user writes
    ``last.ckpt`` in the middle of the epoch.

    Attributes:
        best_epoch: 1 for the first epoch; 0 before it.
        best_loss: Validation loss of that epoch.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.best_epoch = 0
        self.best_loss = float("inf")

    def after_epoch(self, trainer: Trainer) -> None:
        """Save the best model first: a kill in between only repeats this epoch."""
        loss = trainer.metrics["val/loss"]
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_epoch = trainer.epoch
            best = {
                "model": trainer.model.module.state_dict(),
                "epoch": trainer.epoch,
                "val_loss": loss,
            }
            save_checkpoint(trainer.fabric, self.run_dir / BEST_CHECKPOINT, best)
        if trainer.config.ends_stage(trainer.epoch):
            self._keep_stage(trainer)
        trainer.save(self.run_dir / LAST_CHECKPOINT)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Save where the user stopped."""
        if isinstance(error, InterruptedRunError):
            trainer.save(self.run_dir / LAST_CHECKPOINT)

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch and its loss."""
        return {"best_epoch": self.best_epoch, "best_loss": self.best_loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the best epoch and its loss."""
        self.best_epoch = int(state["best_epoch"])
        self.best_loss = float(state["best_loss"])

    def _keep_stage(self, trainer: Trainer) -> None:
        """Copy the best model; a kill before the next line of `after_epoch` repeats the epoch."""
        number = trainer.config.stage_at(trainer.epoch)
        if trainer.fabric.is_global_zero:
            with write_whole(self.run_dir / stage_checkpoint(number)) as temporary:
                shutil.copyfile(self.run_dir / BEST_CHECKPOINT, temporary)
        trainer.fabric.barrier()
        self.best_loss = float("inf")
