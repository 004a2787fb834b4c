"""Intervals over independent groups."""

# S seeds, G groups, K classes

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
_MAX_DRAWN_AT_ONCE = 4_000_000

Floats = NDArray[np.float64]
Metric = Callable[[Floats], Floats]
"""Maps confusion matrices (..., K, K), rows true, to scores (...)."""


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval and what it rests on."""

    value: float
    low: float
    high: float
    num_images: int
    num_groups: int


def accuracy(confusion: Floats) -> Floats:
    """Return the share of images on the diagonal."""
    right: Floats = np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))
    return right


def balanced_accuracy(confusion: Floats) -> Floats:
    """Return the mean recall over the classes that are there."""
    support = confusion.sum(axis=-1)
    recall = np.diagonal(confusion, axis1=-2, axis2=-1) / np.maximum(support, 1)
    mean: Floats = recall.sum(axis=-1) / (support > 0).sum(axis=-1)
    return mean


def macro_f1(confusion: Floats) -> Floats:
    """Return the mean F1 over all classes; a class neither there nor predicted counts 0."""
    total = confusion.sum(axis=-2) + confusion.sum(axis=-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    mean: Floats = (2 * hits / np.maximum(total, 1)).mean(axis=-1)
    return mean


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


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
    low, high = find_interval(bootstrap_groups(score_draws(confusions, metric), num_groups))
    value = float(metric(confusions.sum(axis=1)).mean())
    return Estimate(value, low, high, int(confusions[0].sum()), num_groups)


def estimate_share(
    is_hit: NDArray[np.bool_], is_counted: NDArray[np.bool_], groups: NDArray[np.str_]
) -> Estimate:
    """Return the share of hits among the counted images, with an interval over groups.

    Where all counted images are hits, or none, every draw is alike and the bootstrap would claim
    certainty: there the exact interval of Clopper and Pearson (1934) stands, with the groups that
    hold counted images as the number of trials.

    Args:
        is_hit: Bool (N,); hits are counted too.
        is_counted: Bool (N,).
        groups: Group of each image, (N,).
    """
    names, of_image = np.unique(groups.astype(str), return_inverse=True)
    hits = np.bincount(of_image, weights=is_hit, minlength=len(names))
    counted = np.bincount(of_image, weights=is_counted, minlength=len(names))
    num_counted, num_groups = int(counted.sum()), int((counted > 0).sum())
    if not num_counted:
        nothing = float("nan")
        return Estimate(nothing, nothing, nothing, 0, 0)
    value = float(hits.sum() / num_counted)
    if value in (0, 1):
        low, high = proportion_confint(
            round(value * num_groups), num_groups, 1 - CONFIDENCE, method="beta"
        )
        return Estimate(value, float(low), float(high), num_counted, num_groups)

    def score(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            share: Floats = (weights @ hits) / (weights @ counted)
        return share

    return Estimate(
        value, *find_interval(bootstrap_groups(score, len(names))), num_counted, num_groups
    )


def score_draws(confusions: NDArray[np.int64], metric: Metric) -> Callable[[Floats], Floats]:
    """Return the function that scores draws of groups for `bootstrap_groups`; see `estimate`."""
    num_seeds, num_groups, *shape = confusions.shape
    flat = confusions.swapaxes(0, 1).reshape(num_groups, -1).astype(float)

    def score(weights: Floats) -> Floats:
        mean: Floats = metric((weights @ flat).reshape(-1, num_seeds, *shape)).mean(axis=1)
        return mean

    return score


def bootstrap_groups(
    score: Callable[[Floats], Floats],
    num_groups: int,
    *,
    num_images: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Floats:
    """Return the scores of draws of groups with replacement, float (B,).

    The draws are the same for every call with as many groups, so scores can be compared draw by
    draw. With a single group there is nothing to draw: (0,).

    Args:
        score: Maps how often each group was drawn, float (B, G), to scores (B,).
        num_groups: G.
        num_images: Where `score` needs a weight an image: how many; fewer draws are then scored at
            once.
        num_resamples: B.
    """
    if num_groups < 2:
        return np.empty(0)

    def score_indices(drawn: NDArray[np.int64], axis: int = -1) -> Floats:
        rows = np.moveaxis(drawn, axis, -1).reshape(-1, num_groups)
        places = rows + num_groups * np.arange(len(rows))[:, None]
        weights = np.bincount(places.ravel(), minlength=rows.size).reshape(rows.shape)
        return score(weights.astype(float)).reshape(drawn.shape[:-1])

    with warnings.catch_warnings():
        # It is about scipy's own interval, which cannot leave out draws without a score.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(num_groups),),
            score_indices,
            n_resamples=num_resamples,
            batch=max(1, _MAX_DRAWN_AT_ONCE // max(num_groups, num_images)),
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(0),
        )
    distribution: Floats = result.bootstrap_distribution
    return distribution


def find_interval(scores: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval; draws without a score (NaN) are left out."""
    known = scores[~np.isnan(scores)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


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
