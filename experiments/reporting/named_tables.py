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
    "main_job",
    "siblings",
    "study_fusion",
    "study_seeds",
    "study_renal",
    "study_changes",
    "study_turns",
    "study_strong",
]


@dataclass(frozen=True)
class NamedTable:
    """A table that is written to ``NAME.csv`` and between the README's markers of that name.

    Attributes:
        of: What its runs are of, for messages.
        key: Columns that tell its rows apart.
        count: Column that says how many runs, or seeds, are behind a row.
        select: Returns the runs that it shows.
        build: Makes it from finished runs.
        to_markdown: Writes it, as read back from CSV.
    """

    of: str
    key: tuple[str, ...]
    count: str
    select: Callable[[Sequence[FinishedRun]], list[FinishedRun]]
    build: Callable[[Sequence[FinishedRun]], pd.DataFrame]
    to_markdown: Callable[[pd.DataFrame], str]

    def find_losses(self, old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
        """Return the names of rows of `old` that `new` lacks, or bases on fewer runs."""
        counts = {self._name(row): row[self.count] for row in new.to_dict("records")}
        rows = {self._name(row): row[self.count] for row in old.to_dict("records")}
        return [name for name, count in rows.items() if counts.get(name, 0) < count]

    def _name(self, row: Mapping[str, object]) -> str:
        return ", ".join(str(row.get(column)) for column in self.key)


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
    return NamedTable(
        f"ablations, {study.reference} among {', '.join(study.variants)}",
        ("model", "label_percent"),
        "runs",
        study.select,
        study.build,
        study.to_markdown,
    )


_MAIN_JOB: Final = ("base_wbc", "fused_wbc")
NAMED_TABLES: Final[Mapping[TableName, NamedTable]] = {
    "main_job": NamedTable(
        ", ".join(_MAIN_JOB),
        ("experiment", "label_percent", "epochs"),
        "seeds",
        partial(select_experiments, _MAIN_JOB),
        build_result_table,
        to_markdown,
    ),
    "siblings": NamedTable(
        ", ".join(SIBLINGS),
        ("experiment", "protocol", "test", "data", "epochs"),
        "seeds",
        partial(select_experiments, SIBLINGS),
        build_sibling_table,
        sibling_table_to_markdown,
    ),
    "study_fusion": _name_study("fusion"),
    "study_seeds": _name_study("seeds"),
    "study_renal": _name_study("renal"),
    "study_changes": _name_study("changes"),
    "study_turns": _name_study("turns"),
    "study_strong": _name_study("strong"),
}
