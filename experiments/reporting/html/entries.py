"""Finished runs in the order of a report: a numbered row a model and test, by test set."""

# S seeds, G groups, K classes

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.identity import model_key
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.prediction_tables import show
from experiments.reporting.statistics import group_confusions

_RUNS_FOLDER: Final = "runs"
_NAMED_PARTS: Final = 3
_SEED: Final = re.compile(r"seed-\d+")
_PERCENT: Final = re.compile(r"split-\d+")
_ALL_LABELS: Final = 100


@dataclass(frozen=True)
class Entry:
    """One model on one test: runs of one command that differ in nothing but the seed.

    Attributes:
        number: Its place in the report, from 1.
        name: Its folder without seed, and the test's name where that is not the main one.
        test: Name of a further test; None: the main one.
        runs: S, by seed.
        frames: Predictions of each, all with the same rows in the same order.
    """

    number: int
    name: str
    test: str | None
    runs: tuple[FinishedRun, ...]
    frames: tuple[pd.DataFrame, ...]

    @property
    def title(self) -> str:
        """Number and name."""
        return f"{self.number}. {self.name}"

    @property
    def first(self) -> FinishedRun:
        """The run of the lowest seed."""
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        """Seeds, rising."""
        return [int(run.summary["seed"]) for run in self.runs]

    @property
    def label_percent(self) -> int:
        """Share of the training labels that was used."""
        return _percent_of(self.first)

    @property
    def curve(self) -> str:
        """The name without the share of labels: the same for the points of a learning curve."""
        return "/".join(part for part in self.name.split("/") if not _PERCENT.fullmatch(part))

    def confusions(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Return the confusion matrices by seed and group, int (S, G, K, K)."""
        return np.stack(
            [group_confusions(f["label"], f["pred"], f["group"], classes) for f in self.frames]
        )


@dataclass(frozen=True)
class TestSet:
    """Entries that were tested on the same images.

    Attributes:
        title: What the runs call the data.
        entries: In the order of their numbers.
        is_synthetic: Whether the images are.
        classes: K names.
    """

    __test__ = False  # pytest takes the name for a class of tests

    title: str
    entries: tuple[Entry, ...]
    is_synthetic: bool
    classes: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """Test images."""
        return len(self.entries[0].frames[0])

    @property
    def num_groups(self) -> int:
        """Independent groups of them."""
        return int(self.entries[0].frames[0]["group"].nunique())

    @property
    def extent(self) -> str:
        """How much was tested, for captions."""
        return f"n = {self.num_images:,} test images in {self.num_groups:,} groups"


def find_test_sets(runs: Sequence[FinishedRun]) -> list[TestSet]:
    """Return the test sets of classifiers, real ones first.

    Args:
        runs: Finished classifiers; single folds are left out where the run that pools them is here.

    Raises:
        ValueError: A file of a run is damaged.
    """
    for run in runs:
        run.require_classifier()
    whole = [run for run in runs if run.config.get("options", {}).get("fold") is None]
    drafts: dict[tuple[str, str | None, str], list[tuple[FinishedRun, pd.DataFrame]]] = {}
    for run in sorted(whole or runs, key=lambda run: str(run.path.resolve())):
        for test in (*run.other_tests, None):
            frame = run.predictions(test).sort_values("sample_id", ignore_index=True)
            key = (model_key(run), test, _digest(run, frame))
            drafts.setdefault(key, []).append((run, frame))
    by_set: dict[str, list[Entry]] = {}
    for (_, test, digest), members in drafts.items():
        members.sort(key=lambda member: int(member[0].summary["seed"]))
        found, frames = zip(*members, strict=True)
        by_set.setdefault(digest, []).append(
            Entry(0, name_run(found[0], test), test, found, frames)
        )
    order = sorted(by_set.values(), key=lambda entries: _order_of_set(entries))
    number = 0
    test_sets = []
    for entries in order:
        numbered = []
        for entry in sorted(entries, key=lambda e: (e.label_percent, _natural(e.name))):
            number += 1
            numbered.append(Entry(number, entry.name, entry.test, entry.runs, entry.frames))
        run = numbered[0].first
        title = show(str(run.summary["data"]["name"]))
        # Such a test is of the same images unless no entry stands for the main test.
        if all(entry.test for entry in numbered):
            title += f", {show(str(numbered[0].test))}"
        test_sets.append(TestSet(title, tuple(numbered), run.is_synthetic, tuple(run.classes)))
    titles = Counter(found.title for found in test_sets)
    return [_tell_apart(found) if titles[found.title] > 1 else found for found in test_sets]


def name_run(run: FinishedRun, test: str | None = None) -> str:
    """Return a run's folder below ``runs`` without its seed, and without what cannot be printed."""
    parts = run.path.resolve().parts
    starts = [place for place, part in enumerate(parts) if part == _RUNS_FOLDER]
    below = parts[starts[-1] + 1 :] if starts else ()
    kept = [part for part in below or parts[-_NAMED_PARTS:] if not _SEED.fullmatch(part)]
    name = "/".join(kept) or parts[-1]
    return show(f"{name}, {test}" if test else name)


def find_unfinished(roots: Iterable[Path]) -> list[str]:
    """Return the names of run folders below `roots` that have no summary."""
    folders = {path.parent for root in roots for path in root.rglob("config.json")}
    return sorted(
        show("/".join(folder.resolve().parts[-_NAMED_PARTS:]))
        for folder in folders
        if not (folder / "summary.json").is_file()
    )


def _tell_apart(test_set: TestSet) -> TestSet:
    """Return the test set with a title that tells it from others of the same data."""
    folders = [entry.curve for entry in test_set.entries if entry.test is None]
    by = f", {len(test_set.classes)} classes, as in {folders[0]}" if folders else ""
    extent = f"{test_set.num_images:,} images in {test_set.num_groups:,} groups"
    return replace(test_set, title=f"{test_set.title} ({extent}{by})")


def _digest(run: FinishedRun, frame: pd.DataFrame) -> str:
    """Return what is the same for tests of the same images, labels, groups and classes."""
    content = {
        "synthetic": run.is_synthetic,
        "classes": sorted(run.classes),
        "rows": frame[["sample_id", "label", "group"]].to_numpy().tolist(),
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _order_of_set(entries: Sequence[Entry]) -> tuple[Any, ...]:
    first = entries[0].first
    least = min(_natural(entry.name) for entry in entries)
    return first.is_synthetic, str(first.summary["data"]["name"]), least


def _percent_of(run: FinishedRun) -> int:
    return int(run.summary.get("label_percent") or _ALL_LABELS)


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key by which ``split-10`` stands behind ``split-5``."""
    parts = re.split(r"(\d+)", text)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]
