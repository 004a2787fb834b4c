"""Scores of a cross-validation: mean and spread over folds, and two models on the same folds."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.folds import pool_predictions
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.repeat_tests import CorrectedT, run_corrected_t
from experiments.reporting.statistics import METRICS, Estimate, estimate, group_confusions


@dataclass(frozen=True)
class FoldedScore:
    """A score over the folds.

    Attributes:
        values: Of the folds.
        mean: Of the values.
        sd: Standard deviation over folds; it is not that of the mean, since the folds' training
            sets overlap (Bengio and Grandvalet, 2004: no unbiased estimate of it exists).
        pooled: Of all images together, with its interval over groups.
    """

    values: tuple[float, ...]
    mean: float
    sd: float
    pooled: Estimate


def score_folds(runs: Sequence[FinishedRun]) -> dict[str, FoldedScore]:
    """Return accuracy, balanced accuracy and macro F1 over the folds.

    Args:
        runs: One a fold, two or more, in their order.

    Raises:
        ValueError: As `pool_predictions`, or there is a single fold.
    """
    if len(runs) < 2:
        raise ValueError(f"Cross-validation has two folds or more, not {len(runs)}.")
    pooled, classes = pool_predictions(runs), runs[0].classes
    folds = [_confusions(rows, classes).sum(axis=0) for _, rows in pooled.groupby("fold")]
    confusions = _confusions(pooled, classes)
    found = {}
    for name, metric in METRICS.items():
        values = [float(metric(confusion.astype(float))) for confusion in folds]
        found[name] = FoldedScore(
            tuple(values),
            float(np.mean(values)),
            float(np.std(values, ddof=1)),
            estimate(confusions[None], metric),
        )
    return found


def compare_folds(
    first: Sequence[FinishedRun], second: Sequence[FinishedRun]
) -> dict[str, CorrectedT]:
    """Return the corrected resampled t-test of two models over the same folds, first less second.

    Holm's correction for several models is `comparison.adjust_holm`.

    Args:
        first: Of a model, one a fold, in their order.
        second: Of another, on the same folds.

    Raises:
        ValueError: As `score_folds`, or the folds are not the same.
    """
    ours, theirs = pool_predictions(first), pool_predictions(second)
    folds = [dict(zip(frame["sample_id"], frame["fold"], strict=True)) for frame in (ours, theirs)]
    if folds[0] != folds[1]:
        raise ValueError(
            f"{first[0].path} and {second[0].path} are of other folds. Compare cross-validations "
            "of one draw."
        )
    scores = [score_folds(runs) for runs in (first, second)]
    return {
        name: run_corrected_t(
            np.subtract(scores[0][name].values, scores[1][name].values), 1 / len(first)
        )
        for name in METRICS
    }


def find_divided_groups(runs: Sequence[FinishedRun]) -> list[str]:
    """Return the groups whose images are tested in several folds, which then leak.

    Raises:
        ValueError: As `pool_predictions`.
    """
    folds = pool_predictions(runs).groupby("group")["fold"].nunique()
    return sorted(folds.index[folds > 1])


def format_fold_scores(scores: Mapping[str, FoldedScore], divided: Sequence[str]) -> str:
    """Return the scores as text of at most 80 columns.

    Args:
        scores: Of `score_folds`.
        divided: Of `find_divided_groups`.
    """
    some = next(iter(scores.values()))
    lines = [
        f"Over {len(some.values)} folds: mean ± standard deviation (values), then all "
        f"{some.pooled.num_images} images",
        f"pooled, with the 95 % interval over {some.pooled.num_groups} groups.",
        "",
    ]
    for name, score in scores.items():
        values = ", ".join(f"{value:.3f}" for value in score.values)
        spread = f"{score.mean:.3f} ± {score.sd:.3f}"
        lines += [f"  {name.replace('_', ' '):18} {spread}  pooled {_interval(score.pooled)}"]
        lines += textwrap.wrap(values, 78, initial_indent=" " * 21, subsequent_indent=" " * 21)
    if divided:
        lines += textwrap.wrap(
            f"{len(divided)} groups are tested in several folds, e.g. {divided[0]}: their images "
            "were trained on too, and the scores are too good.",
            80,
        )
    return "\n".join(lines)


def _confusions(frame: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.int64]:
    return group_confusions(frame["label"], frame["pred"], frame["group"], classes)


def _interval(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
