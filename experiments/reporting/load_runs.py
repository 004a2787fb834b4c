"""Reads finished run folders; needs neither torch nor the project's models."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class FinishedRun:
    """A run folder that has a ``summary.json``.

    Attributes:
        path: The folder.
        config: Of ``config.json``.
        summary: Of ``summary.json``.
    """

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]

    @property
    def is_synthetic(self) -> bool:
        """Whether it was run on synthetic data."""
        return bool(self.summary["data"]["synthetic"])

    def predictions(self) -> pd.DataFrame:
        """Return sample_id, group, label, pred and a column a class probability, a row a sample."""
        frame = pd.read_csv(self.path / "predictions.csv", dtype={"sample_id": str, "group": str})
        columns = [name for name in frame.columns if name.startswith("prob_")]
        frame["pred"] = frame[columns].idxmax(axis=1).str.removeprefix("prob_")
        return frame


def find_finished(roots: Iterable[Path]) -> list[FinishedRun]:
    """Return all finished runs below `roots`, sorted by path."""
    paths = sorted({path.parent for root in roots for path in root.rglob("summary.json")})
    return [
        FinishedRun(
            path,
            json.loads((path / "config.json").read_text()),
            json.loads((path / "summary.json").read_text()),
        )
        for path in paths
    ]
