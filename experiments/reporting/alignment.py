"""Runs that were tested on the same images, brought into one order."""

# N images, G groups, K classes

from __future__ import annotations

import os
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.identity import model_key
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.statistics import group_confusions

_MAX_RUNS = len(string.ascii_uppercase)
_MAX_NAMED = 3
_SEED_PART = re.compile(r"seed-\d+")


@dataclass(frozen=True)
class AlignedRuns:
    """Runs on the same test images.

    Attributes:
        runs: In the order given.
        letters: A, B, ...: what tables call them.
        names: Their folders, without what all have in common.
        frames: Predictions of each, all with the same N rows in the same order.
        classes: K names in the order of the first run.
        test: Name of the test; None: the main one.
    """

    runs: tuple[FinishedRun, ...]
    letters: tuple[str, ...]
    names: tuple[str, ...]
    frames: tuple[pd.DataFrame, ...]
    classes: tuple[str, ...]
    test: str | None

    @property
    def is_synthetic(self) -> bool:
        """Whether the images are synthetic."""
        return self.runs[0].is_synthetic

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.frames[0])

    @property
    def num_groups(self) -> int:
        """G."""
        return int(self.frames[0]["group"].nunique())

    @property
    def data_names(self) -> list[str]:
        """What the runs call their data."""
        return sorted({str(run.summary["data"]["name"]) for run in self.runs})

    def is_right(self, index: int) -> NDArray[np.bool_]:
        """Return which images the run named rightly, bool (N,)."""
        frame = self.frames[index]
        right: NDArray[np.bool_] = (frame["pred"] == frame["label"]).to_numpy()
        return right

    def confusions(self, index: int) -> NDArray[np.int64]:
        """Return the run's confusion matrix a group, int (G, K, K)."""
        frame = self.frames[index]
        return group_confusions(frame["label"], frame["pred"], frame["group"], self.classes)

    def models(self) -> dict[str, dict[int, int]]:
        """Return, by model, the index of its run of each seed.

        Runs are of one model if the same command made them in the same folder but for the seed.
        """
        members: dict[str, dict[int, int]] = {}
        for index, run in enumerate(self.runs):
            members.setdefault(model_key(run), {})[int(run.summary["seed"])] = index
        return {
            f"{''.join(self.letters[i] for i in of_model.values())}: "
            f"{_drop_seed(self.names[next(iter(of_model.values()))])}": of_model
            for of_model in members.values()
        }


def align_runs(runs: Sequence[FinishedRun], test: str | None = None) -> AlignedRuns:
    """Return `runs` with their predictions in one order.

    Args:
        runs: Finished classifiers.
        test: Name of a further test that all runs have; None: the main one.

    Raises:
        ValueError: There are none or too many; synthetic and real ones are mixed; their classes or
            their test images differ, or the images' labels or groups.
    """
    if not 1 <= len(runs) <= _MAX_RUNS:
        raise ValueError(f"1 to {_MAX_RUNS} runs can be compared, not {len(runs)}.")
    if len({run.is_synthetic for run in runs}) > 1:
        kinds = [f"  {'synthetic' if run.is_synthetic else 'real'}: {run.path}" for run in runs]
        raise ValueError(
            "Synthetic and real results never share a table; pass one kind of runs:\n"
            + "\n".join(kinds)
        )
    first = runs[0]
    frames = [run.predictions(test).sort_values("sample_id", ignore_index=True) for run in runs]
    for run, frame in zip(runs[1:], frames[1:], strict=True):
        if set(run.classes) != set(first.classes):
            raise ValueError(
                f"{first.path} and {run.path} know different classes: {', '.join(first.classes)} "
                f"there, {', '.join(run.classes)} here. Compare runs of one class list."
            )
        difference = _describe_difference(frames[0], frame)
        if difference:
            raise ValueError(
                f"{first.path} and {run.path} were tested on different images: {difference} "
                "Compare runs of one split of one data set."
            )
    return AlignedRuns(
        tuple(runs),
        tuple(string.ascii_uppercase[: len(runs)]),
        short_names([run.path for run in runs]),
        tuple(frames),
        tuple(first.classes),
        test,
    )


def _describe_difference(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Return in what the test images of two runs differ; nothing if they are the same."""
    ours, theirs = set(first["sample_id"]), set(second["sample_id"])
    if ours != theirs:
        parts = [
            f"{len(only)} only in the {place}, e.g. {', '.join(sorted(only)[:_MAX_NAMED])}"
            for place, only in (("first", ours - theirs), ("second", theirs - ours))
            if only
        ]
        return f"{len(ours)} and {len(theirs)} images; {'; '.join(parts)}."
    for column in ("label", "group"):
        differing = first.index[first[column] != second[column]]
        if len(differing):
            row = differing[0]
            return (
                f"the {column}s of {len(differing)} images differ, e.g. {first['sample_id'][row]}: "
                f"{first[column][row]} and {second[column][row]}."
            )
    return ""


def short_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return what tells run folders apart; a single one stands as it is."""
    if len(paths) == 1:
        return (str(paths[0]),)
    resolved = [path.resolve() for path in paths]
    root = Path(os.path.commonpath([path.parent for path in resolved]))
    # The seed alone says little; the folder above it names the model.
    if all(len(path.relative_to(root).parts) == 1 for path in resolved):
        root = root.parent
    return tuple(str(path.relative_to(root)) for path in resolved)


def _drop_seed(name: str) -> str:
    kept = [part for part in Path(name).parts if not _SEED_PART.fullmatch(part)]
    return str(Path(*kept)) if kept else name
