"""The tables that the README shows between markers, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import pandas as pd

from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.reported import SIBLINGS
from experiments.reporting.sibling_table import build_sibling_table, sibling_table_to_markdown
from experiments.reporting.study_table import STUDY_TABLES
from experiments.reporting.tables import build_result_table, to_markdown

TableName = Literal[
    "main_job", "siblings", "study_fusion", "study_strong", "study_changes", "study_turns"
]


@dataclass(frozen=True)
class NamedTable:
    """A table that is written to ``NAME.csv`` and between the README's markers of that name.

    Attributes:
        of: What its runs are of, for messages.
        select: Returns the runs that it shows.
        build: Makes it from finished runs.
        to_markdown: Writes it, as read back from CSV.
    """

    of: str
    select: Callable[[Sequence[FinishedRun]], list[FinishedRun]]
    build: Callable[[Sequence[FinishedRun]], pd.DataFrame]
    to_markdown: Callable[[pd.DataFrame], str]


def select_experiments(
    experiments: Sequence[str], runs: Sequence[FinishedRun]
) -> list[FinishedRun]:
    """Return the runs of these experiments: real ones, synthetic ones failing those.

    Single folds of a cross-validation are left out: the run that pools them is shown. So are other
    recipes than the source system's, which have a table of their own.

    Raises:
        ValueError: The summary of such a run lacks something.
    """
    chosen = [
        run
        for run in runs
        if run.summary.get("experiment") in experiments
        and run.config.get("options", {}).get("fold") is None
        and "recipe" not in run.config
    ]
    for run in chosen:
        run.require_classifier()
    return [run for run in chosen if not run.is_synthetic] or chosen


def _name_study(name: str) -> NamedTable:
    study = STUDY_TABLES[name]
    return NamedTable(f"ablations, table {name}", study.select, study.build, study.to_markdown)


_MAIN_JOB: Final = ("base_wbc", "fused_wbc")
NAMED_TABLES: Final[Mapping[TableName, NamedTable]] = {
    "main_job": NamedTable(
        ", ".join(_MAIN_JOB),
        partial(select_experiments, _MAIN_JOB),
        build_result_table,
        to_markdown,
    ),
    "siblings": NamedTable(
        ", ".join(SIBLINGS),
        partial(select_experiments, SIBLINGS),
        build_sibling_table,
        sibling_table_to_markdown,
    ),
    "study_fusion": _name_study("fusion"),
    "study_strong": _name_study("strong"),
    "study_changes": _name_study("changes"),
    "study_turns": _name_study("turns"),
}
