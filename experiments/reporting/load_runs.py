"""Reads finished run folders; needs neither torch nor the project's models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from datasets.safe_json import read_json_object
from experiments.reporting.run_schema import find_problem

_SUMMARY: Final = "summary.json"
_CONFIG: Final = "config.json"
_METRICS: Final = "metrics.csv"
_PREDICTIONS: Final = "predictions.csv"
_VAL_PREDICTIONS: Final = "val_predictions.csv"
_IDENTITY: Final = ("sample_id", "group", "label")
_PROB: Final = "prob_"


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

    @property
    def is_classifier(self) -> bool:
        """Whether it has predictions of classes."""
        return (self.path / _PREDICTIONS).is_file()

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the label indices."""
        return list(self.summary["test"]["per_class"])

    @property
    def num_train_images(self) -> int | None:
        """How many images it learnt from, masked ones too; None where the summary does not say."""
        counts = self.summary.get("splits", {}).get("train", {}).get("images")
        return sum(counts.values()) if counts else None

    @property
    def other_tests(self) -> list[str]:
        """Names of further tests: other test sets, or the model after an earlier stage."""
        return list(self.summary.get("other_tests", {}))

    def require_classifier(self) -> None:
        """Refuse a folder whose summary is not that of a classifier.

        Raises:
            ValueError: Naming what is missing or of another kind than it must be.
        """
        problem = find_problem(self.summary, self.config)
        if problem:
            raise ValueError(
                f"{self.path / _SUMMARY} is not of a finished classifier, or damaged: {problem}. "
                "Train again with --overwrite, or leave the folder out."
            )

    def test_metrics(self, test: str | None = None) -> dict[str, Any]:
        """Return the summary's metrics of the test named, by default the main one.

        Raises:
            ValueError: The run has no such test.
        """
        if test is None:
            return dict(self.summary["test"])
        if test not in self.other_tests:
            able = ", ".join(self.other_tests) or "none"
            raise ValueError(f"{self.path} has no test {test!r}. Its further tests: {able}.")
        return dict(self.summary["other_tests"][test])

    def predictions(self, test: str | None = None) -> pd.DataFrame:
        """Return sample_id, group, label, pred and a column a class probability, a row a sample.

        Args:
            test: Name of a further test; None: the main one.

        Raises:
            ValueError: The file is missing or damaged.
        """
        if test is None:
            return _read_predictions(self.path / _PREDICTIONS, self.classes)
        self.test_metrics(test)
        return _read_predictions(self.path / f"predictions-{test}.csv", self.classes)

    def val_predictions(self) -> pd.DataFrame:
        """Return the same of the validation split.

        Raises:
            ValueError: The file is missing or damaged.
        """
        path = self.path / _VAL_PREDICTIONS
        if not path.is_file():
            raise ValueError(
                f"{self.path} has no {_VAL_PREDICTIONS}, and thresholds and temperatures are "
                "not chosen on test. The run is older than that file: train it again with "
                "--overwrite."
            )
        return _read_predictions(path, self.classes)

    def metrics(self) -> pd.DataFrame:
        """Return ``metrics.csv``, a row an epoch.

        Raises:
            ValueError: The file is missing or damaged.
        """
        frame = _read_csv(self.path / _METRICS)
        if "epoch" not in frame or frame.empty:
            raise ValueError(
                f"{self.path / _METRICS} holds no epochs. Train again with --overwrite."
            )
        return frame


def find_finished(roots: Iterable[Path]) -> list[FinishedRun]:
    """Return all finished runs below `roots`, sorted by path.

    Raises:
        ValueError: A file of a run is damaged.
    """
    paths = sorted({path.parent for root in roots for path in root.rglob(_SUMMARY)})
    return [
        FinishedRun(path, read_json_object(path / _CONFIG), read_json_object(path / _SUMMARY))
        for path in paths
    ]


def find_classifiers(roots: Iterable[Path]) -> list[FinishedRun]:
    """Return the finished classifier runs that `roots` are or hold, in the order of `roots`.

    Raises:
        ValueError: One of the roots holds none, or a file of a run is damaged.
    """
    found: dict[Path, FinishedRun] = {}
    for root in roots:
        runs = [run for run in find_finished([root]) if run.is_classifier]
        if not runs:
            raise ValueError(
                f"No finished classifier run at or below {root}: it needs {_SUMMARY} and "
                f"{_PREDICTIONS}. Finish it with --resume, or pass another folder."
            )
        for run in runs:
            run.require_classifier()
        found |= {run.path.resolve(): run for run in runs}
    return list(found.values())


def _read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    frame = _read_csv(path, dict.fromkeys(_IDENTITY, str))
    missing = [name for name in _IDENTITY if name not in frame]
    columns = [name for name in frame.columns if name.startswith(_PROB)]
    expected = {f"{_PROB}{name}" for name in classes}
    if missing or set(columns) != expected or frame.empty:
        raise ValueError(
            f"{path} is no table of predictions of this run: expected rows with "
            f"{', '.join((*_IDENTITY, *sorted(expected)))}; found {len(frame)} rows with "
            f"{', '.join(frame.columns)}."
        )
    unknown = sorted(set(frame["label"]) - set(classes))
    if unknown:
        raise ValueError(
            f"{path} holds labels that the run does not know: {', '.join(unknown)}. It knows "
            f"{', '.join(classes)}."
        )
    numbers = frame[columns].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers.to_numpy(float)).all():
        raise ValueError(f"{path} holds probabilities that are no finite numbers; it is damaged.")
    if frame["sample_id"].duplicated().any():
        name = frame.loc[frame["sample_id"].duplicated(), "sample_id"].iloc[0]
        raise ValueError(f"{path} holds {name} more than once; it is damaged.")
    frame[columns] = numbers
    frame["pred"] = numbers.idxmax(axis=1).str.removeprefix(_PROB)
    return frame


def _read_csv(path: Path, types: dict[str, type] | None = None) -> pd.DataFrame:
    try:
        # "NA" may be a class or a patient.
        return pd.read_csv(path, dtype=types, keep_default_na=not types)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
