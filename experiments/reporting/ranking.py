"""Areas under ROC and precision-recall curves, with intervals over groups."""

# N images, G groups, B draws, L distinct scores

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from experiments.reporting.statistics import Estimate, Floats, bootstrap_groups, find_interval

_GRID: Final = np.linspace(0, 1, 501)


@dataclass(frozen=True)
class RocCurve:
    """A ROC curve.

    Attributes:
        false_positive_rate: Share of the negatives at or above each threshold, rising.
        true_positive_rate: Share of the positives, i.e. sensitivity.
        thresholds: A test is positive where the score is at least so high.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats


def find_roc(is_positive: NDArray[np.bool_], scores: Floats) -> RocCurve:
    """Return the ROC curve with every distinct score as a threshold.

    Args:
        is_positive: Bool (N,), with at least one of each.
        scores: (N,), higher for positives.
    """
    return RocCurve(*roc_curve(is_positive, scores, drop_intermediate=False))


def estimate_auroc(
    is_positive: NDArray[np.bool_], scores: Floats, groups: NDArray[np.str_]
) -> Estimate:
    """Return the area under the ROC curve, the Mann-Whitney statistic, with its interval."""
    return _estimate(auroc_scorer(is_positive, scores), groups)


def estimate_average_precision(
    is_positive: NDArray[np.bool_], scores: Floats, groups: NDArray[np.str_]
) -> Estimate:
    """Return the average precision (steps, not trapezoids), with its interval."""
    return _estimate(average_precision_scorer(is_positive, scores), groups)


def estimate_macro_auroc(frame: pd.DataFrame) -> Estimate:
    """Return the mean one-vs-rest area over the classes that are there, with its interval.

    Args:
        frame: As `FinishedRun.predictions` gives it, with at least two classes among the labels.
    """
    return _estimate_macro(frame, auroc_scorer)


def estimate_macro_average_precision(frame: pd.DataFrame) -> Estimate:
    """Return the mean average precision over the classes that are there, with its interval.

    Args:
        frame: As `FinishedRun.predictions` gives it, with at least two classes among the labels.
    """
    return _estimate_macro(frame, average_precision_scorer)


def find_macro_roc(frame: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return false and mean true positive rates of the one-vs-rest curves of the classes there."""
    curves = [
        find_roc((frame["label"] == name).to_numpy(), frame[f"prob_{name}"].to_numpy(float))
        for name in find_ranked_classes(frame)
    ]
    grid = np.unique(np.concatenate([_GRID, *(curve.false_positive_rate for curve in curves)]))
    rates = [
        np.interp(grid, curve.false_positive_rate, curve.true_positive_rate) for curve in curves
    ]
    # Every curve starts in the corner, where interpolation would take the end of its first step.
    return np.concatenate([[0.0], grid]), np.concatenate([[0.0], np.mean(rates, axis=0)])


def find_ranked_classes(frame: pd.DataFrame) -> list[str]:
    """Return the classes that the labels hold.

    Raises:
        ValueError: There is only one, so that nothing can be ranked.
    """
    held = set(frame["label"])
    names = [
        name.removeprefix("prob_")
        for name in frame.columns
        if name.startswith("prob_") and name.removeprefix("prob_") in held
    ]
    if len(names) < 2:
        raise ValueError(f"A ROC curve needs two classes; the test images are all {names}.")
    return names


def auroc_scorer(is_positive: NDArray[np.bool_], scores: Floats) -> Callable[[Floats], Floats]:
    """Return a function from weights of the images, float (B, N), to areas (B,).

    It equals ``sklearn.metrics.roc_auc_score`` with ``sample_weight``, for all draws at once. A
    draw without a positive or without a negative has no area (NaN).
    """
    levels, places = np.unique(scores, return_inverse=True)

    def score(weights: Floats) -> Floats:
        positive = _sum_by_level(weights * is_positive, places, len(levels))
        negative = _sum_by_level(weights * ~is_positive, places, len(levels))
        below = negative.cumsum(axis=1) - negative / 2
        total = positive.sum(axis=1) * negative.sum(axis=1)
        with np.errstate(invalid="ignore"):
            area: Floats = (positive * below).sum(axis=1) / total
        return area

    return score


def average_precision_scorer(
    is_positive: NDArray[np.bool_], scores: Floats
) -> Callable[[Floats], Floats]:
    """Return the same for the average precision, as ``sklearn.metrics.average_precision_score``."""
    levels, places = np.unique(-scores, return_inverse=True)

    def score(weights: Floats) -> Floats:
        positive = _sum_by_level(weights * is_positive, places, len(levels))
        called = _sum_by_level(weights, places, len(levels)).cumsum(axis=1)
        precision = positive.cumsum(axis=1) / np.maximum(called, 1e-12)
        with np.errstate(invalid="ignore"):
            mean: Floats = (positive * precision).sum(axis=1) / positive.sum(axis=1)
        return mean

    return score


def _estimate_macro(
    frame: pd.DataFrame,
    make_scorer: Callable[[NDArray[np.bool_], Floats], Callable[[Floats], Floats]],
) -> Estimate:
    scorers = [
        make_scorer((frame["label"] == name).to_numpy(), frame[f"prob_{name}"].to_numpy(float))
        for name in find_ranked_classes(frame)
    ]

    def score(weights: Floats) -> Floats:
        mean: Floats = np.mean([scorer(weights) for scorer in scorers], axis=0)
        return mean

    return _estimate(score, frame["group"].to_numpy())


def _sum_by_level(weights: Floats, places: NDArray[np.intp], num_levels: int) -> Floats:
    """Return the weights (B, N) summed over images with the same score, float (B, L)."""
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(num_levels))
    summed: Floats = np.add.reduceat(weights[:, order], starts, axis=1)
    return summed


def _estimate(score: Callable[[Floats], Floats], groups: NDArray[np.str_]) -> Estimate:
    names, of_image = np.unique(groups.astype(str), return_inverse=True)
    draws = bootstrap_groups(
        lambda weights: score(weights[:, of_image]), len(names), num_images=len(groups)
    )
    value = float(score(np.ones((1, len(groups))))[0])
    return Estimate(value, *find_interval(draws), len(groups), len(names))
