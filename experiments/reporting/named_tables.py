"""The tables that the README shows between markers, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.reported import SIBLINGS
from experiments.reporting.sibling_table import build_sibling_table, sibling_table_to_markdown
from experiments.reporting.tables import build_result_table, to_markdown

TableName = Literal["main_job", "siblings"]


@dataclass(frozen=True)
class NamedTable:
    """A table that is written to ``NAME.csv`` and between the README's markers of that name.

    Attributes:
        experiments: Whose runs it shows.
        build: Makes it from finished runs.
        to_markdown: Writes it, as read back from CSV.
    """

    experiments: tuple[str, ...]
    build: Callable[[Sequence[FinishedRun]], pd.DataFrame]
    to_markdown: Callable[[pd.DataFrame], str]

    def select(self, runs: Sequence[FinishedRun]) -> list[FinishedRun]:
        """Return the runs that the table shows: real ones, synthetic ones failing those."""
        chosen = [run for run in runs if run.summary.get("experiment") in self.experiments]
        return [run for run in chosen if not run.is_synthetic] or chosen


NAMED_TABLES: Final[Mapping[TableName, NamedTable]] = {
    "main_job": NamedTable(("base_wbc", "fused_wbc"), build_result_table, to_markdown),
    "siblings": NamedTable(SIBLINGS, build_sibling_table, sibling_table_to_markdown),
}
