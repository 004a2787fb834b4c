"""Scores of one run on its own test, on other sets and under corruptions: CSV and text."""

# N images, K classes

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datasets.files import write_whole
from experiments.reporting.class_tables import format_class_table, format_score, tabulate_classes
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.statistics import (
    METRICS,
    estimate,
    find_present,
    group_confusions,
    restrict_predictions,
)
from experiments.reporting.tables import SYNTHETIC_NOTE

OWN: Final = "own"
"""What tables call the run's own test."""

AS_WRITTEN: Final = "as the run wrote it"
ALL: Final = "all"
NO_CORRUPTION: Final = "none"

_PROB: Final = "prob_"
_NAME_WIDTH: Final = 24


@dataclass(frozen=True)
class ShiftResult:
    """Predictions for one test under one condition.

    Attributes:
        test: `OWN` or the name of another test.
        scope: `AS_WRITTEN`, `ALL` (images tested on again), or a set whose classes were kept.
        classes: Names that may be predicted.
        frame: As `FinishedRun.predictions` gives it.
        corruption: Its name, or `NO_CORRUPTION`.
        severity: 0 without corruption, else 1 to 5.
        amount: Of the corruption in its unit; None without one.
        unit: Of the amount.
    """

    test: str
    scope: str
    classes: tuple[str, ...]
    frame: pd.DataFrame
    corruption: str = NO_CORRUPTION
    severity: int = 0
    amount: float | None = None
    unit: str = ""

    @property
    def file_name(self) -> str:
        """Of the predictions."""
        if self.corruption == NO_CORRUPTION:
            return f"{self.test}.csv"
        return f"{self.test}-{self.corruption}-{self.severity}.csv"


def make_frame(
    ids: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[str],
    probs: NDArray[np.float64],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Return predictions (N, K) as `FinishedRun.predictions` gives them."""
    frame = pd.DataFrame({"sample_id": ids, "group": groups, "label": labels}, dtype=str)
    for column, name in enumerate(classes):
        frame[f"{_PROB}{name}"] = probs[:, column]
    frame["pred"] = np.asarray(classes, dtype=object)[probs.argmax(axis=1)]
    return frame


def write_predictions(folder: Path, result: ShiftResult) -> None:
    """Write sample_id, group, label and a column a class probability, as runs write them."""
    with write_whole(folder / result.file_name) as temporary:
        frame = result.frame.drop(columns="pred")
        frame.to_csv(temporary, index=False, lineterminator="\n")


def build_shift_table(results: Sequence[ShiftResult]) -> pd.DataFrame:
    """Return a row a result.

    Columns: test, scope, corruption, severity, amount, unit, images, groups; accuracy,
    balanced_accuracy and macro_f1, each with ``_low`` and ``_high`` of its 95 % interval over
    groups; ``restricted_to``, the classes that the test holds, and the scores once more where the
    run may name only those, with ``restricted_`` before their names.
    """
    rows = []
    for result in results:
        row: dict[str, Any] = {
            "test": result.test,
            "scope": result.scope,
            "corruption": result.corruption,
            "severity": result.severity,
            "amount": result.amount,
            "unit": result.unit,
            "images": len(result.frame),
            "groups": result.frame["group"].nunique(),
        }
        present = find_present(result.frame["label"].tolist(), result.classes)
        row |= _score(result.frame, result.classes, "")
        row["restricted_to"] = " ".join(present)
        row |= _score(restrict_predictions(result.frame, present), present, "restricted_")
        rows.append(row)
    return pd.DataFrame(rows)


def build_class_rows(results: Sequence[ShiftResult]) -> pd.DataFrame:
    """Return precision, recall and support by class of each result, with test and scope."""
    tables = []
    for result in results:
        table = tabulate_classes(result.frame, result.classes)
        table.insert(0, "scope", result.scope)
        table.insert(0, "test", result.test)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def format_shift(
    title: str,
    table: pd.DataFrame,
    by_class: pd.DataFrame,
    left_out: Mapping[str, Mapping[str, int]],
    is_synthetic: bool,
) -> str:
    """Return the tables as text of at most 80 columns.

    Args:
        title: What was tested.
        table: Of `build_shift_table`.
        by_class: Of `build_class_rows`.
        left_out: Number of images by reason, by test.
        is_synthetic: Whether the images are.
    """
    lines = [*textwrap.wrap(title, 80), *([SYNTHETIC_NOTE] if is_synthetic else [])]
    lines += ["In brackets 95 % intervals over groups.", "", *_format_tests(table)]
    for (test, _), rows in by_class[by_class["test"] != OWN].groupby(["test", "scope"], sort=False):
        lines += ["", f"{test}, by class", format_class_table(rows)]
    for test, reasons in left_out.items():
        if reasons:
            lines += ["", f"Left out of {test}:"]
            lines += [f"  {number:6d}  {reason}" for reason, number in reasons.items()]
    corrupted = table[table["corruption"] != NO_CORRUPTION]
    if len(corrupted):
        lines += ["", *_format_corruptions(table, str(corrupted["test"].iloc[0]))]
    return "\n".join(lines)


def select_clean(results: Sequence[ShiftResult]) -> list[ShiftResult]:
    """Return the results of tests as they are, without the own test predicted again."""
    return [
        result
        for result in results
        if result.corruption == NO_CORRUPTION and (result.test, result.scope) != (OWN, ALL)
    ]


def name_run(run: FinishedRun) -> str:
    """Return what text and pictures call the run."""
    summary = run.summary
    name = " ".join(
        str(part) for part in (summary["experiment"], run.config.get("variant")) if part
    )
    return f"{name}, seed {summary['seed']}, learnt from {summary['data']['name']}"


def select_curve(table: pd.DataFrame, test: str, corruption: str) -> pd.DataFrame:
    """Return the rows of a test under a corruption, by severity, the clean image first."""
    of_test = table[(table["test"] == test) & (table["scope"] == ALL)]
    is_clean = of_test["corruption"] == NO_CORRUPTION
    return of_test[is_clean | (of_test["corruption"] == corruption)].sort_values("severity")


def select_tests(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `select_clean`: the run's own test, then each other and its reference."""
    is_own_again = (table["test"] == OWN) & (table["scope"] == ALL)
    of_tests = (table["corruption"] == NO_CORRUPTION) & ~is_own_again
    rows: list[dict[str, Any]] = table[of_tests].to_dict("records")
    return rows


def name_row(row: Mapping[str, Any]) -> str:
    """Return what text and pictures call a row of `select_tests`."""
    if row["test"] != OWN:
        return str(row["test"])
    return "own test" if row["scope"] == AS_WRITTEN else "  own, same classes"


def _format_tests(table: pd.DataFrame) -> list[str]:
    lines = [
        f"{'test':{_NAME_WIDTH}}{'images':>6}{'groups':>7} {'accuracy':20} balanced accuracy",
    ]
    for row in select_tests(table):
        name = name_row(row)
        cut = name if len(name) < _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}…"
        counts = f"{row['images']:6d}{row['groups']:7d}"
        for label, prefix in (
            (f"{cut:{_NAME_WIDTH}}{counts}", ""),
            ("    restricted", "restricted_"),
        ):
            lines.append(
                f"{label:{_NAME_WIDTH + 13}} {format_score(row, f'{prefix}accuracy'):20} "
                f"{format_score(row, f'{prefix}balanced_accuracy')}"
            )
    return lines


def _format_corruptions(table: pd.DataFrame, test: str) -> list[str]:
    names = list(dict.fromkeys(table["corruption"]))
    names.remove(NO_CORRUPTION)
    some = select_curve(table, test, names[0]).iloc[0]
    lines = [
        f"{test} under corruptions: n = {some['images']} images in {some['groups']} groups;",
        "intervals: shift.csv",
        "",
    ]
    for metric in ("accuracy", "balanced_accuracy"):
        heads = "".join(f"{severity:>9}" for severity in ("clean", *range(1, 6)))
        lines += [f"{metric.replace('_', ' ')} on {test} by severity", f"  {'':12}{heads}"]
        for name in names:
            scores = select_curve(table, test, name)[metric]
            lines.append(f"  {name:12}" + "".join(f"{score:9.3f}" for score in scores))
        lines.append("")
    return lines[:-1]


def _score(frame: pd.DataFrame, classes: Sequence[str], prefix: str) -> dict[str, float]:
    confusions = group_confusions(frame["label"], frame["pred"], frame["group"], classes)[None]
    columns: dict[str, float] = {}
    for name, metric in METRICS.items():
        found = estimate(confusions, metric)
        columns[prefix + name] = found.value
        columns[f"{prefix}{name}_low"] = found.low
        columns[f"{prefix}{name}_high"] = found.high
    return columns
