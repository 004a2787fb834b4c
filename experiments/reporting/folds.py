"""Results of cross-validation: each image is tested once, by the model that has not seen it."""

# N images, F folds

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.binary import RULES, BinaryResult, BinaryTask, Rule, evaluate_binary
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.ranking import estimate_auroc
from experiments.reporting.statistics import Estimate, Floats, estimate_share


@dataclass(frozen=True)
class FoldedPoint:
    """An operating point a fold, their calls pooled.

    Attributes:
        rule: By which each fold's threshold was chosen on its own validation split.
        thresholds: Of the folds.
        sensitivity: Of the pooled calls, with its interval; so the other two.
        specificity: Of the pooled calls.
        positive_predictive_value: Of the pooled calls; NaN where no image is called positive.
    """

    rule: Rule
    thresholds: tuple[float, ...]
    sensitivity: Estimate
    specificity: Estimate
    positive_predictive_value: Estimate


@dataclass(frozen=True)
class FoldedResult:
    """A binary test over the folds.

    Attributes:
        folds: The test by fold.
        pooled_auroc: Of all images in one ranking, with its interval over groups. Models of
            different folds need not mean the same by a probability, which lowers it.
        points: A point for each of `RULES`.
    """

    folds: tuple[BinaryResult, ...]
    pooled_auroc: Estimate
    points: tuple[FoldedPoint, ...]

    @property
    def task(self) -> BinaryTask:
        """The question."""
        return self.folds[0].task

    @property
    def aurocs(self) -> list[float]:
        """Area under the ROC curve by fold."""
        return [fold.auroc.value for fold in self.folds]

    @property
    def spread(self) -> float:
        """Standard deviation of the areas over the folds."""
        return float(np.std(self.aurocs, ddof=1))


def pool_predictions(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Return the test predictions of all folds, with the number of the ``fold``, from 0.

    Args:
        runs: One a fold, in their order.

    Raises:
        ValueError: The folds know different classes, or an image is tested in two of them.
    """
    frames = []
    for number, run in enumerate(runs):
        if run.classes != runs[0].classes:
            raise ValueError(f"{run.path} and {runs[0].path} know different classes.")
        frames.append(run.predictions().assign(fold=number))
    pooled = pd.concat(frames, ignore_index=True)
    twice = pooled.loc[pooled["sample_id"].duplicated(), "sample_id"]
    if len(twice):
        raise ValueError(
            f"{len(twice)} images are tested in two folds, e.g. {twice.iloc[0]}: these are no "
            "folds of one draw. Pass --overwrite to train them again."
        )
    return pooled


def evaluate_folds(runs: Sequence[FinishedRun], task: BinaryTask) -> FoldedResult:
    """Return a binary test over the folds; each fold's thresholds are its own.

    Raises:
        ValueError: As `evaluate_binary` and `pool_predictions`.
    """
    folds = tuple(evaluate_binary(run, task) for run in runs)
    pooled = pool_predictions(runs)
    truth = pooled["label"].isin(folds[0].used).to_numpy()
    scores = pooled[[f"prob_{name}" for name in folds[0].used]].sum(axis=1).to_numpy(float)
    groups, fold = pooled["group"].to_numpy(), pooled["fold"].to_numpy()
    points = [
        _pool_point(rule, [of_fold.points[place].threshold for of_fold in folds], truth, scores,
                    groups, fold)
        for place, rule in enumerate(RULES)
    ]  # fmt: skip
    return FoldedResult(folds, estimate_auroc(truth, scores, groups), tuple(points))


def build_folded_table(results: Sequence[FoldedResult]) -> pd.DataFrame:
    """Return a row a test and rule; intervals are over groups, ``auroc_sd`` is over folds."""
    rows = []
    for result in results:
        for point in result.points:
            row: dict[str, object] = {
                "test": result.task.name,
                "classes": " ".join(result.folds[0].used),
                "positives": sum(fold.num_positive for fold in result.folds),
                "negatives": sum(fold.num_negative for fold in result.folds),
                "auroc": float(np.mean(result.aurocs)),
                "auroc_sd": result.spread,
                "auroc_by_fold": result.aurocs,
                "pooled_auroc": result.pooled_auroc.value,
                "pooled_auroc_low": result.pooled_auroc.low,
                "pooled_auroc_high": result.pooled_auroc.high,
                "rule": point.rule,
                "thresholds": list(point.thresholds),
            }
            for name in ("sensitivity", "specificity", "positive_predictive_value"):
                found: Estimate = getattr(point, name)
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            rows.append(row)
    return pd.DataFrame(rows)


def format_folds(results: Sequence[FoldedResult]) -> str:
    """Return the results as text of at most 80 columns."""
    lines = [
        "Binary tests by sums of class probabilities. ± is the standard deviation over",
        "folds, brackets are 95 % intervals over groups. Each fold's threshold was chosen",
        "on its own validation images.",
    ]
    for result in results:
        positives = sum(fold.num_positive for fold in result.folds)
        negatives = sum(fold.num_negative for fold in result.folds)
        areas = ", ".join(f"{area:.3f}" for area in result.aurocs)
        lines += [
            "",
            f"{result.task.name}: {positives} positive, {negatives} negative images in "
            f"{len(result.folds)} folds",
            f"  sum of {', '.join(result.folds[0].used)}"[:80],
            f"  ROC AUC          {np.mean(result.aurocs):.3f} ± {result.spread:.3f} ({areas})",
            f"  all in one rank  {_interval(result.pooled_auroc)}",
        ]
        for point in result.points:
            thresholds = ", ".join(f"{threshold:.3g}" for threshold in point.thresholds)
            lines += [
                f"  {point.rule}: thresholds {thresholds}"[:80],
                f"    sensitivity {_interval(point.sensitivity)}  specificity "
                f"{_interval(point.specificity)}",
                f"    positive predictive value {_interval(point.positive_predictive_value)}",
            ]
    return "\n".join(lines)


def _pool_point(
    rule: Rule,
    thresholds: Sequence[float],
    truth: NDArray[np.bool_],
    scores: Floats,
    groups: NDArray[np.str_],
    fold: NDArray[np.int64],
) -> FoldedPoint:
    called = scores >= np.array(thresholds)[fold]
    return FoldedPoint(
        rule,
        tuple(thresholds),
        estimate_share(truth & called, truth, groups),
        estimate_share(~truth & ~called, ~truth, groups),
        estimate_share(truth & called, called, groups),
    )


def _interval(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
