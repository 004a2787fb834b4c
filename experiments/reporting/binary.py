"""Binary tests by sums of class probabilities, e.g. blast = myeloblast + monoblast."""

# N images, G groups

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datasets.taxonomy import AML_ATYPICAL, AML_BLASTS
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.ranking import (
    RocCurve,
    estimate_auroc,
    estimate_average_precision,
    find_roc,
)
from experiments.reporting.statistics import Estimate, Floats, estimate_share

Rule = Literal["youden", "sensitive"]
RULES: Final[tuple[Rule, ...]] = ("youden", "sensitive")
"""youden: largest sensitivity + specificity - 1. sensitive: sensitivity of at least 0.95."""
LEAST_SENSITIVITY: Final = 0.95


@dataclass(frozen=True)
class BinaryTask:
    """A question with the answers yes and no.

    Attributes:
        name: Of the positive answer.
        positives: Classes that count as positive.
    """

    name: str
    positives: frozenset[str]


AML_TASKS: Final = (BinaryTask("blast", AML_BLASTS), BinaryTask("atypical", AML_ATYPICAL))
"""The two binary tests of Matek et al. (2019)."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold chosen on validation, and what it does on test.

    Attributes:
        rule: By which it was chosen.
        threshold: The test is positive where the summed probability is at least so high.
        val_sensitivity: On validation.
        val_specificity: On validation.
        sensitivity: On test, with its interval; so the other two.
        specificity: On test.
        positive_predictive_value: On test; NaN where no image is called positive.
    """

    rule: Rule
    threshold: float
    val_sensitivity: float
    val_specificity: float
    sensitivity: Estimate
    specificity: Estimate
    positive_predictive_value: Estimate


@dataclass(frozen=True)
class BinaryResult:
    """A binary test of a run.

    Attributes:
        task: The question.
        used: Positive classes that the run knows, in its order.
        num_positive: Test images that are positive.
        num_negative: Test images that are not.
        auroc: With its interval over groups.
        average_precision: With its interval over groups.
        roc: On test.
        points: A point for each of `RULES`.
    """

    task: BinaryTask
    used: tuple[str, ...]
    num_positive: int
    num_negative: int
    auroc: Estimate
    average_precision: Estimate
    roc: RocCurve
    points: tuple[OperatingPoint, ...]


def evaluate_binary(run: FinishedRun, task: BinaryTask) -> BinaryResult:
    """Return ROC, areas and operating points of `task`; thresholds are chosen on validation only.

    Raises:
        ValueError: The run has no validation predictions; it knows no positive class or only
            such; or one of its splits holds only positives or only negatives.
    """
    used = tuple(name for name in run.classes if name in task.positives)
    if not 0 < len(used) < len(run.classes):
        raise ValueError(
            f"{run.path} cannot answer {task.name!r}: of its classes {', '.join(run.classes)} "
            f"{', '.join(used) or 'none'} count as positive ({', '.join(sorted(task.positives))})."
        )
    val, test = run.val_predictions(), run.predictions()
    val_truth, val_scores = _read_truth(val, used, f"{task.name} on validation of {run.path}")
    truth, scores = _read_truth(test, used, f"{task.name} on test of {run.path}")
    groups = test["group"].to_numpy()
    val_roc = find_roc(val_truth, val_scores)
    return BinaryResult(
        task,
        used,
        int(truth.sum()),
        int((~truth).sum()),
        estimate_auroc(truth, scores, groups),
        estimate_average_precision(truth, scores, groups),
        find_roc(truth, scores),
        tuple(_find_point(rule, val_roc, truth, scores, groups) for rule in RULES),
    )


def choose_threshold(roc: RocCurve, rule: Rule) -> int:
    """Return the place on the curve of the threshold that `rule` chooses.

    Of thresholds that are equally good the highest is taken, which calls fewest images positive.
    """
    if rule == "youden":
        # The first point calls nothing positive: it is no test.
        return 1 + int(np.argmax((roc.true_positive_rate - roc.false_positive_rate)[1:]))
    return int(np.argmax(roc.true_positive_rate >= LEAST_SENSITIVITY))


def build_binary_table(results: Sequence[BinaryResult]) -> pd.DataFrame:
    """Return a row a test and rule.

    Columns: test, classes, positives, negatives, groups, auroc and average_precision with
    interval, rule, threshold, val_sensitivity, val_specificity, and on test sensitivity,
    specificity and positive_predictive_value with interval.
    """
    rows = []
    for result in results:
        for point in result.points:
            row: dict[str, object] = {
                "test": result.task.name,
                "classes": " ".join(result.used),
                "positives": result.num_positive,
                "negatives": result.num_negative,
                "groups": result.auroc.num_groups,
            }
            row |= _columns("auroc", result.auroc)
            row |= _columns("average_precision", result.average_precision)
            row |= {
                "rule": point.rule,
                "threshold": point.threshold,
                "val_sensitivity": point.val_sensitivity,
                "val_specificity": point.val_specificity,
            }
            row |= _columns("sensitivity", point.sensitivity)
            row |= _columns("specificity", point.specificity)
            row |= _columns("positive_predictive_value", point.positive_predictive_value)
            rows.append(row)
    return pd.DataFrame(rows)


def format_binary(results: Sequence[BinaryResult]) -> str:
    """Return the results as text of at most 80 columns."""
    lines = [
        "Binary tests by sums of class probabilities; 95 % intervals over groups. Each",
        "threshold was chosen on validation; sensitivity / specificity there in ().",
        "",
    ]
    for result in results:
        lines += [
            f"{result.task.name}: {result.num_positive} positive, {result.num_negative} negative "
            f"images, {result.auroc.num_groups} groups",
            *_wrap(f"sum of {', '.join(result.used)}"),
        ]
        missing = sorted(result.task.positives - set(result.used))
        if missing:
            lines += _wrap(f"the run has no {', '.join(missing)}")
        lines += [
            f"  ROC AUC           {_interval(result.auroc)}",
            f"  average precision {_interval(result.average_precision)}",
        ]
        for point in result.points:
            lines += [
                f"  threshold {point.threshold:.3g}: {_describe_rule(point.rule)} "
                f"({point.val_sensitivity:.3f} / {point.val_specificity:.3f})",
                f"    sensitivity               {_interval(point.sensitivity)}",
                f"    specificity               {_interval(point.specificity)}",
                f"    positive predictive value {_interval(point.positive_predictive_value)}",
            ]
        lines.append("")
    return "\n".join(lines).rstrip()


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 80, initial_indent="  ", subsequent_indent="    ")


def _describe_rule(rule: Rule) -> str:
    return "Youden's J" if rule == "youden" else f"sensitivity >= {LEAST_SENSITIVITY}"


def _read_truth(
    frame: pd.DataFrame, used: Sequence[str], where: str
) -> tuple[NDArray[np.bool_], Floats]:
    """Return which images are positive, bool (N,), and their summed probabilities (N,)."""
    truth: NDArray[np.bool_] = frame["label"].isin(used).to_numpy()
    if truth.all() or not truth.any():
        raise ValueError(
            f"No ROC curve of {where}: {int(truth.sum())} of {len(truth)} images are positive. "
            "Both answers must be there; use a larger split."
        )
    return truth, frame[[f"prob_{name}" for name in used]].sum(axis=1).to_numpy(float)


def _find_point(
    rule: Rule,
    val_roc: RocCurve,
    truth: NDArray[np.bool_],
    scores: Floats,
    groups: NDArray[np.str_],
) -> OperatingPoint:
    place = choose_threshold(val_roc, rule)
    threshold = float(val_roc.thresholds[place])
    called = scores >= threshold
    return OperatingPoint(
        rule,
        threshold,
        float(val_roc.true_positive_rate[place]),
        1 - float(val_roc.false_positive_rate[place]),
        estimate_share(truth & called, truth, groups),
        estimate_share(~truth & ~called, ~truth, groups),
        estimate_share(truth & called, called, groups),
    )


def _columns(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _interval(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
