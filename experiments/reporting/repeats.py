"""Runs of models repeated over seeds and over draws of the splits, and their scores."""

# G groups, K classes

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from experiments.reporting.identity import model_key
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.statistics import Metric, group_confusions

_DRAW: Final = re.compile(r"draw-(\d+)")
_REPEATED: Final = re.compile(r"(?:split|draw|seed)-(?:\d+|\*)")
_VARIED: Final = ("split", "draw", "label_percent")


@dataclass(frozen=True)
class Repeat:
    """A run among its repetitions.

    Attributes:
        draw: Of the splits.
        seed: Of weights, order and augmentation.
        run: The run.
        confusions: By group of the test images, int (G, K, K).
        groups: Their names, (G,), in alphabetical order.
        images: Names of the test images.
    """

    draw: int
    seed: int
    run: FinishedRun
    confusions: NDArray[np.int64]
    groups: tuple[str, ...]
    images: frozenset[str]

    def score(self, metric: Metric) -> float:
        """Return the run's score on all its test images."""
        return float(metric(self.confusions.sum(axis=0).astype(float)))


@dataclass(frozen=True)
class Cell:
    """A model at a share of labels, with all its repetitions.

    Attributes:
        model: What it is called.
        label_percent: Share of the training labels.
        repeats: By (draw, seed), in that order.
    """

    model: str
    label_percent: int
    repeats: Mapping[tuple[int, int], Repeat]

    @property
    def draws(self) -> list[int]:
        """Numbers of the draws."""
        return sorted({draw for draw, _ in self.repeats})

    def values(self, metric: Metric) -> list[float]:
        """Return the score of each run, by draw and then by seed."""
        return [repeat.score(metric) for repeat in self.repeats.values()]


def find_draw(run: FinishedRun) -> int:
    """Return which draw of the splits a run is on.

    That is ``draw`` of its configuration or options, or N where the folder of its data or its own
    is called ``draw-N``; otherwise 0.
    """
    options = run.config.get("options", {})
    for holder in (run.config, options):
        if isinstance(holder.get("draw"), int):
            return int(holder["draw"])
    for place in (options.get("data_root"), run.path):
        numbers = _DRAW.findall(str(place))
        if numbers:
            return int(numbers[-1])
    return 0


def collect_cells(runs: Sequence[FinishedRun]) -> list[Cell]:
    """Return the runs by model and share of labels; models in order of their names.

    Runs are of one model if they differ in nothing but seed, draw and share of labels. All runs on
    one draw must have been tested on the same images.

    Raises:
        ValueError: There are none; synthetic and real ones are mixed, or class lists; two runs
            claim the same place; test images of one draw differ; predictions are damaged.
    """
    if not runs:
        raise ValueError("No finished classifier run. Pass other folders.")
    if len({run.is_synthetic for run in runs}) > 1:
        raise ValueError("Synthetic and real results never share a table; pass one kind of runs.")
    first = runs[0]
    tested: dict[int, tuple[Path, list[tuple[Any, ...]]]] = {}
    names = _name_models(runs)
    found: dict[tuple[str, int], dict[tuple[int, int], Repeat]] = {}
    for run in runs:
        if set(run.classes) != set(first.classes):
            raise ValueError(
                f"{first.path} and {run.path} know different classes: {', '.join(first.classes)} "
                f"there, {', '.join(run.classes)} here. Pass folders of runs of one kind, e.g. "
                "RUNS/base_wbc RUNS/fused_wbc."
            )
        repeat, images = _read_repeat(run, first.classes)
        path, others = tested.setdefault(repeat.draw, (run.path, images))
        if images != others:
            raise ValueError(
                f"{run.path} and {path} are both on draw {repeat.draw} and were tested on "
                "different images. Pass runs on one set, with draws in folders draw-0, draw-1, ..."
            )
        members = found.setdefault((names[_series_key(run)], percent_of(run)), {})
        place = (repeat.draw, repeat.seed)
        if place in members:
            raise ValueError(
                f"{run.path} and {members[place].run.path} are the same model on draw {place[0]} "
                f"with seed {place[1]}. Pass one of them."
            )
        members[place] = repeat
    return [
        Cell(model, percent, dict(sorted(members.items())))
        for (model, percent), members in sorted(found.items())
    ]


def percent_of(run: FinishedRun) -> int:
    """Return the share of the training labels that a run learnt from."""
    return int(run.summary.get("label_percent") or 100)


def _read_repeat(run: FinishedRun, classes: Sequence[str]) -> tuple[Repeat, list[tuple[Any, ...]]]:
    """Return the repeat and what identifies its test images."""
    frame = run.predictions().sort_values("sample_id", ignore_index=True)
    confusions = group_confusions(frame["label"], frame["pred"], frame["group"], classes)
    groups = tuple(sorted(set(frame["group"])))
    images = list(frame[["sample_id", "label", "group"]].itertuples(index=False, name=None))
    ids = frozenset(frame["sample_id"])
    return Repeat(find_draw(run), int(run.summary["seed"]), run, confusions, groups, ids), images


def _series_key(run: FinishedRun) -> str:
    """Return a text that is the same for runs of one model at any seed, draw and label percent."""
    key = json.loads(model_key(run))
    for name in _VARIED:
        key["options"].pop(name, None)
    return _REPEATED.sub("*", json.dumps(key, sort_keys=True))


def _name_models(runs: Sequence[FinishedRun]) -> dict[str, str]:
    """Return by key the folder of each model without what all have in common."""
    folders = {
        _series_key(run): Path(
            *(part for part in run.path.resolve().parts if not _REPEATED.fullmatch(part))
        )
        for run in runs
    }
    root = Path(os.path.commonpath([folder.parent for folder in folders.values()]))
    names = {key: str(folder.relative_to(root)) for key, folder in folders.items()}
    # Two commands may have written below one folder: a number tells them apart.
    for name in set(names.values()):
        keys = [key for key, other in names.items() if other == name]
        if len(keys) > 1:
            names |= {key: f"{name} ({number})" for number, key in enumerate(keys, 1)}
    return names
