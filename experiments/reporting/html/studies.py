"""Studies over several draws: what each variant reaches, and how it differs from one of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from experiments.reporting.html.text_tables import TextTable
from experiments.reporting.html.verdict import format_p
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.study_table import STUDY_TABLES, Study
from experiments.reporting.tables import format_cell

_LEVEL: Final = 0.05
_SCORES: Final = ("accuracy", "balanced_accuracy")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyView:
    """A study as a reader sees it.

    Attributes:
        title: Name, data and number of draws.
        sentences: Of each other variant with the most draws, share by share: what sets it apart.
        table: A row a variant and share of labels.
    """

    title: str
    sentences: tuple[str, ...]
    table: TextTable


def view_studies(runs: Sequence[FinishedRun]) -> list[StudyView]:
    """Return the studies of which `runs` hold the reference and others over two or more draws.

    Synthetic runs have none; runs that cannot be compared are left out with a warning.
    """
    views = []
    for name, study in STUDY_TABLES.items():
        if any(study.is_part_of(other) for other in STUDY_TABLES.values()):
            continue
        chosen = [run for run in study.select(runs) if not run.is_synthetic]
        draws = {run.config.get("draw") for run in chosen if _variant_of(run) == study.reference}
        others = {_variant_of(run) for run in chosen} - {study.reference}
        if len(draws) < 2 or not others:
            continue
        try:
            views.append(_view(name, study, study.build(chosen)))
        except ValueError as error:
            log.warning("The study %s is left out of the report: %s", name, error)
    return views


def _variant_of(run: FinishedRun) -> str:
    return str(run.config.get("variant"))


def _view(name: str, study: Study, table: pd.DataFrame) -> StudyView:
    rows = table.to_dict("records")
    columns = (
        "variant", "labels (%)", "draws", "accuracy", f"minus {study.reference}", "p",
        "balanced accuracy", f"minus {study.reference}", "p",
    )  # fmt: skip
    return StudyView(
        f"{name} on {rows[0]['data']}",
        tuple(_judge(row, study.reference) for row in rows if row["model"] != study.reference),
        TextTable(columns, tuple(_show(row) for row in rows), 1),
    )


def _show(row: dict[str, Any]) -> tuple[str, ...]:
    cells = [str(row["model"]), str(row["label_percent"]), str(row["draws"])]
    for score in _SCORES:
        p = row[f"{score}_p"]
        cells += [
            format_cell(row, score),
            _difference(row, score) or "-",
            "-" if pd.isna(p) else format_p(p),
        ]
    return tuple(cells)


def _difference(row: dict[str, Any], score: str) -> str:
    value, low, high = (row[f"{score}_difference{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return ""
    return f"{value:+.3f}" + ("" if pd.isna(low) else f" [{low:+.3f}, {high:+.3f}]")


def _judge(row: dict[str, Any], reference: str) -> str:
    """Say whether accuracy sets a variant apart from the reference: by interval, and by test."""
    start = f"With {row['label_percent']} % of the labels {row['model']}"
    difference = _difference(row, "accuracy")
    if not difference:
        return f"{start} shares no draw with {reference}."
    low, high, p = (row[f"accuracy_{end}"] for end in ("difference_low", "difference_high", "p"))
    if pd.isna(low) or low <= 0 <= high:
        return f"{start} cannot be told from {reference}: accuracy {difference}."
    side = "ahead of" if low > 0 else "behind"
    is_sure = not pd.isna(p) and p < _LEVEL
    test = "no test" if pd.isna(p) else f"the corrected test over draws p = {format_p(p)}"
    verdict = "which bears it out" if is_sure else "which does not bear it out alone"
    return (
        f"{start} is {side} {reference} by its interval, accuracy {difference}; {test}, {verdict}."
    )
