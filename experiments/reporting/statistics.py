"""Intervals over independent groups."""

# S seeds, G groups, K classes

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95

Metric = Callable[[NDArray[np.int64]], float]
"""Maps a confusion matrix (K, K), rows true, to a score."""


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval and what it rests on."""

    value: float
    low: float
    high: float
    num_images: int
    num_groups: int


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Return the share of images on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Return the mean recall over the classes that are there."""
    support = confusion.sum(axis=1)
    return float((np.diag(confusion)[support > 0] / support[support > 0]).mean())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 over all classes; a class neither there nor predicted counts 0."""
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float((2 * np.diag(confusion) / np.maximum(total, 1)).mean())


def estimate(confusions: NDArray[np.int64], metric: Metric) -> Estimate:
    """Return the mean of `metric` over seeds with a percentile bootstrap interval over groups.

    Groups, not images, are drawn with replacement (Davison and Hinkley, 1997, section 3.8): images
    of one patient or photograph are no independent evidence. Each draw is scored for all seeds, so
    the interval is that of the mean; it does not hold the spread between seeds. With a single
    group there is no interval (NaN).

    Args:
        confusions: Int (S, G, K, K), as `group_confusions` gives them for each of S seeds on the
            same test images.
        metric: Of a confusion matrix.
    """
    num_groups = confusions.shape[1]

    def score(drawn: NDArray[np.int64]) -> float:
        return float(np.mean([metric(of_seed[drawn].sum(axis=0)) for of_seed in confusions]))

    everything = np.arange(num_groups)
    low = high = float("nan")
    if num_groups > 1:
        result = stats.bootstrap(
            (everything,),
            score,
            n_resamples=NUM_RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            vectorized=False,
            rng=np.random.default_rng(0),
        )
        low, high = map(float, result.confidence_interval)
    return Estimate(score(everything), low, high, int(confusions[0].sum()), num_groups)


def group_confusions(
    labels: Sequence[str], preds: Sequence[str], groups: Sequence[str], classes: Sequence[str]
) -> NDArray[np.int64]:
    """Return a confusion matrix a group, int (G, K, K), groups in alphabetical order."""
    index = {name: position for position, name in enumerate(classes)}
    rows = {name: position for position, name in enumerate(sorted(set(groups)))}
    confusions = np.zeros((len(rows), len(classes), len(classes)), dtype=np.int64)
    for label, pred, group in zip(labels, preds, groups, strict=True):
        confusions[rows[group], index[label], index[pred]] += 1
    return confusions


def find_present(labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the classes that the labels hold, in the order of `classes`."""
    held = set(labels)
    return [name for name in classes if name in held]


def restrict_predictions(frame: pd.DataFrame, present: Sequence[str]) -> pd.DataFrame:
    """Return predictions made from the classes in `present` only.

    Args:
        frame: As `FinishedRun.predictions` gives it.
        present: Classes that may be named.

    Returns:
        The same rows; ``pred`` is the most probable class of `present`, the other probability
        columns are gone.
    """
    columns = [f"prob_{name}" for name in present]
    others = [name for name in frame.columns if name.startswith("prob_") and name not in columns]
    restricted = frame.drop(columns=others)
    restricted["pred"] = frame[columns].idxmax(axis=1).str.removeprefix("prob_")
    return restricted
