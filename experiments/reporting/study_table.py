"""The README's tables of studies: each variant's scores, and how it differs from one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from statistics import median
from typing import Any, Final

import pandas as pd

from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.repeat_statistics import build_repeat_table
from experiments.reporting.repeat_tests import build_test_table, compare_cells
from experiments.reporting.repeats import collect_cells
from experiments.reporting.tables import format_cell, format_time

_SCORES: Final = ("accuracy", "balanced_accuracy")
_KEYS: Final = ["model", "label_percent"]


@dataclass(frozen=True)
class Study:
    """A study of ablations.py as a table.

    Attributes:
        reference: Variant that all others are compared with.
        variants: In the order of the table, the reference among them.
    """

    reference: str
    variants: tuple[str, ...]

    def select(self, runs: Sequence[FinishedRun]) -> list[FinishedRun]:
        """Return the runs of this study: real ones, synthetic ones failing those.

        Shares of the labels for which the reference has none are left out, since nothing can be
        compared there.
        """
        chosen = [run for run in runs if run.config.get("variant") in self.variants]
        chosen = [run for run in chosen if not run.is_synthetic] or chosen
        shares = {
            run.summary.get("label_percent")
            for run in chosen
            if run.config["variant"] == self.reference
        }
        return [run for run in chosen if run.summary.get("label_percent") in shares]

    def is_part_of(self, other: Study) -> bool:
        """Return whether the other says all that this one does: same reference, more variants."""
        return self.reference == other.reference and set(self.variants) < set(other.variants)

    def build(self, runs: Sequence[FinishedRun]) -> pd.DataFrame:
        """Return a row a variant and share of labels.

        Columns: those of `build_repeat_table`, and of accuracy and balanced accuracy the mean
        paired ``_difference`` to the reference with its ``_low`` and ``_high`` and Holm's p-value
        of Nadeau and Bengio's t-test, ``_p``; empty where there is none. ``seconds``: the median
        time of a run's training, extraction of features not in it.

        Raises:
            ValueError: Runs do not belong together, or the reference has none.
        """
        cells = collect_cells(runs)
        table = build_repeat_table(cells)
        tests = build_test_table(compare_cells(cells, self.reference))
        rows = [self._add_differences(row, tests) for row in table.to_dict("records")]
        for row, cell in zip(rows, cells, strict=True):
            times = [repeat.run.summary.get("seconds", nan) for repeat in cell.repeats.values()]
            row["seconds"] = median(times)
        order = {name: place for place, name in enumerate(self.variants)}
        return (
            pd.DataFrame(rows)
            .sort_values(["label_percent", "model"], key=lambda c: c.map(lambda v: order.get(v, v)))
            .reset_index(drop=True)
        )

    def to_markdown(self, table: pd.DataFrame) -> str:
        """Return the table of `build`, or what was read of it from CSV, as Markdown."""
        lines = []
        # Tables that were committed before times were kept have none.
        is_timed = "seconds" in table and bool(table["seconds"].notna().any())
        for percent, rows in table.groupby("label_percent", sort=True):
            some = rows.iloc[0]
            lines += [
                "",
                f"{percent} % of the labels of {some['data']}:",
                "",
                f"| variant | draws | accuracy | minus {self.reference} (p) | balanced accuracy "
                f"| minus {self.reference} (p) |{' training |' if is_timed else ''}",
                f"|---|---|---|---|---|---|{'---|' if is_timed else ''}",
                *(self._format_row(row, is_timed=is_timed) for row in rows.to_dict("records")),
            ]
        return "\n".join(lines[1:])

    def _add_differences(self, row: dict[str, Any], tests: pd.DataFrame) -> dict[str, Any]:
        for name in _SCORES:
            found = tests[
                (tests["metric"] == name)
                & (tests["label_percent"] == row["label_percent"])
                & ((tests["first"] == row["model"]) | (tests["second"] == row["model"]))
            ]
            is_other = row["model"] != self.reference and len(found)
            test = found.iloc[0] if is_other else None
            sign = 1 if test is None or test["first"] == row["model"] else -1
            low, high = ("low", "high") if sign == 1 else ("high", "low")
            row[f"{name}_difference"] = None if test is None else sign * test["mean"]
            row[f"{name}_difference_low"] = None if test is None else sign * test[low]
            row[f"{name}_difference_high"] = None if test is None else sign * test[high]
            row[f"{name}_p"] = None if test is None else test["corrected_t_p_holm"]
        return row

    def _format_row(self, row: dict[str, Any], *, is_timed: bool) -> str:
        parts = [str(row["model"]), str(row["draws"])]
        for name in _SCORES:
            parts += [format_cell(row, name), _format_difference(row, name)]
        if is_timed:
            parts.append("" if pd.isna(row["seconds"]) else format_time(row["seconds"]))
        return f"| {' | '.join(parts)} |"


def _format_difference(row: dict[str, Any], name: str) -> str:
    difference = row[f"{name}_difference"]
    if pd.isna(difference):
        return ""
    low, high, p = (row[f"{name}_{end}"] for end in ("difference_low", "difference_high", "p"))
    interval = "" if pd.isna(low) else f" [{low:+.3f}, {high:+.3f}]"
    chance = "-" if pd.isna(p) else ("<0.001" if p < 0.001 else f"{p:.3f}")
    return f"{difference:+.3f}{interval} ({chance})"


STUDY_TABLES: Final[Mapping[str, Study]] = {
    "fusion": Study(
        "fused",
        (
            "fused",
            "base",
            "base-14",
            "base-wide",
            "random-encoders",
            "prcc-only",
            "cam16-only",
            "cells-only",
            "imagenet-only",
            "probe-tissue",
            "probe-tissue-balanced",
            "probe-random",
            "probe-prcc",
            "probe-random-prcc",
            "probe-depths",
            "probe-depths-balanced",
        ),
    ),
    "strong": Study(
        "strong",
        (
            "strong",
            "fused",
            "probe-depths",
            "probe-depths-balanced",
            "strong-one-view",
            "strong-one-test-view",
            "strong-no-smoothing",
            "strong-unbalanced",
            "strong-labelled-only",
            "strong-trunk-only",
            "strong-trunk-means",
            "strong-prcc-only",
            "strong-random",
        ),
    ),
    "seeds": Study("fused", ("fused", "base-14", "random-encoders")),
    "renal": Study("probe-prcc", ("probe-prcc", "probe-random-prcc")),
    "changes": Study(
        "fused",
        (
            "fused",
            "fused-unfrozen",
            "fused-unfrozen-slow",
            "fused-views-8",
            "fused-pool-2",
            "fused-pool-4",
            "fused-concat",
            "fused-gated",
            "fused-no-masks",
            "fused-class-weights",
            "fused-balanced-sampling",
            "fused-group-norm",
        ),
    ),
    "turns": Study(
        "base-14",
        (
            "base-14",
            "base-14-flips-15",
            "base-14-flips-360",
            "base-14-views-8",
        ),
    ),
}
"""By name: two studies of ablations.py as they are; those of their variants that have been run with
several seeds; those that tell renal tissue from none; and the single changes that the other studies
make to fused and to base-14."""
