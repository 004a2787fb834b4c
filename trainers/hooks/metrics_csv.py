"""Writes ``metrics.csv``."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from datasets.files import write_whole
from trainers.hooks.base import Hook

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.trainer import Trainer


class MetricsCsvHook(Hook):
    """Writes one row an epoch: epoch, learning rate, training and validation metrics.

    The file is written anew each epoch, so a resumed run neither repeats nor loses a row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def after_validation(self, trainer: Trainer) -> None:
        """Add the epoch's row and write the file."""
        lr = trainer.optimizer.param_groups[0]["lr"]
        self.rows.append({"epoch": trainer.epoch + 1, "lr": lr, **trainer.metrics})
        if not trainer.fabric.is_global_zero:
            return
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with write_whole(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the rows so far."""
        self.rows = list(state["rows"])
