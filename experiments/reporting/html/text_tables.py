"""The report's tables as a reader sees them, and as Markdown, CSV and LaTeX files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from datasets.files import write_whole
from experiments.reporting.class_tables import format_score
from experiments.reporting.html.scores import ALL_CLASSES
from experiments.reporting.html.verdict import format_p
from experiments.reporting.statistics import METRICS
from experiments.reporting.tables import SYNTHETIC_NOTE, guard_formulas

TABLE_NAMES: Final = ("results", "pairs", "classes")
ENDINGS: Final = (".md", ".csv", ".tex")

_MARKDOWN_MARKS: Final = re.compile(r"([\\`*<>|\[\]~$])")
_UNKNOWN: Final = "-"


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes:
        columns: Heads; names end where numbers, which are set to the right, begin.
        rows: As many texts each as there are columns.
        num_names: How many columns are names.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_names: int


def show_results(results: pd.DataFrame) -> TextTable:
    """Return the table of `scores.build_results`, scores as mean ± sd [interval]."""
    columns = (
        "no.", "model", "labels (%)", "training images", "epochs", "seeds", "test images",
        "groups", *map(_word, METRICS), "macro AUROC",
    )  # fmt: skip
    rows = []
    for row in results.to_dict("records"):
        name = str(row["model"])
        counts = ("label_percent", "train_images", "epochs", "seeds", "test_images", "test_groups")
        rows.append(
            (
                str(row["number"]),
                name if row["scope"] == ALL_CLASSES else f"{name}, {row['scope']}",
                *(_format_count(row[name]) for name in counts),
                *(_format_mean(row, name) for name in METRICS),
                format_score(row, "macro_auroc"),
            )
        )
    return TextTable(columns, tuple(rows), 2)


def show_pairs(pairs: pd.DataFrame) -> TextTable:
    """Return the table of `scores.build_pairs`."""
    columns = ["first", "second", "labels (%)"]
    for name in METRICS:
        columns += [f"difference in {_word(name)}", f"p, {_word(name)}"]
    columns += ["common seeds", "p, paired t over seeds"]
    rows = []
    for row in pairs.to_dict("records"):
        cells = [f"{row[side]}. {row[f'{side}_model']}" for side in ("first", "second")]
        cells.append(str(row["label_percent"]))
        for name in METRICS:
            cells += [_format_difference(row, name), format_p(row[f"{name}_p_holm"])]
        cells += [str(row["common_seeds"]), format_p(row["t_p_holm"])]
        rows.append(tuple(cells))
    return TextTable(tuple(columns), tuple(rows), 2)


def show_classes(classes: pd.DataFrame) -> TextTable:
    """Return the table of `scores.build_classes`."""
    columns = (
        "no.", "model", "class", "precision", "recall (sensitivity)", "F1", "support (images)",
        "groups",
    )  # fmt: skip
    rows = [
        (
            str(row["number"]),
            str(row["model"]),
            str(row["class"]),
            format_score(row, "precision"),
            format_score(row, "recall"),
            format_number(row["f1"]),
            _format_count(row["support"]),
            _format_count(row["groups"]),
        )
        for row in classes.to_dict("records")
    ]
    return TextTable(columns, tuple(rows), 3)


def write_tables(
    folder: Path, prefix: str, tables: Sequence[tuple[str, TextTable, pd.DataFrame]]
) -> list[str]:
    """Write tables as Markdown, LaTeX (as they are read) and CSV (all numbers).

    Args:
        folder: Where to.
        prefix: Before the files' names; one of synthetic results says so inside as well.
        tables: Name, the table as it is read, the table of numbers.

    Returns:
        The files' names.
    """
    note = SYNTHETIC_NOTE if prefix else ""
    written = []
    for name, shown, numbers in tables:
        frame = pd.DataFrame(list(shown.rows), columns=list(shown.columns))
        latex = frame.to_latex(
            index=False,
            escape=True,
            column_format="l" * shown.num_names + "r" * (len(shown.columns) - shown.num_names),
        )
        texts = {
            ".md": f"{note}\n\n{to_markdown(shown)}\n".lstrip("\n"),
            ".csv": guard_formulas(numbers).to_csv(
                index=False, float_format="%.6f", lineterminator="\n"
            ),
            ".tex": f"% {note}\n{latex}" if note else latex,
        }
        for ending, text in texts.items():
            path = folder / f"{prefix}{name}{ending}"
            with write_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
            written.append(path.name)
    return written


def to_markdown(table: TextTable) -> str:
    """Return the table as Markdown in which no name is taken for markup."""
    marks = ["---"] * table.num_names + ["---:"] * (len(table.columns) - table.num_names)
    lines = [table.columns, tuple(marks)]
    lines += [tuple(_escape_markdown(cell) for cell in row) for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def format_number(value: Any) -> str:
    """Return a number with three decimals; a dash where there is none."""
    return _UNKNOWN if value is None or pd.isna(value) else f"{value:.3f}"


def _word(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1")


def _format_mean(row: dict[str, Any], name: str) -> str:
    spread = "" if pd.isna(row[f"{name}_sd"]) else f" ± {row[f'{name}_sd']:.3f}"
    interval = format_score(row, name).partition(" ")[2]
    return f"{row[name]:.3f}{spread} {interval}".rstrip()


def _format_difference(row: dict[str, Any], name: str) -> str:
    if pd.isna(row[f"{name}_low"]):
        return f"{row[name]:+.3f}"
    return f"{row[name]:+.3f} [{row[f'{name}_low']:+.3f}, {row[f'{name}_high']:+.3f}]"


def _format_count(value: Any) -> str:
    return f"{int(value):,}"


def _escape_markdown(text: str) -> str:
    return _MARKDOWN_MARKS.sub(r"\\\1", text.replace("&", "&amp;"))
