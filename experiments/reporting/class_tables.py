"""Precision, sensitivity, F1 and support by class, as table, text and Markdown."""

# N images, G groups, K classes

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.statistics import Estimate, estimate_share

_LABEL_WIDTH = 20
_UNKNOWN = "-"


def build_class_table(run: FinishedRun, test: str | None = None) -> pd.DataFrame:
    """Return a row a class of the test.

    Columns: class; precision and recall (the class's sensitivity), each with its 95 % interval over
    groups (``_low``, ``_high``); f1; accuracy (of the question whether an image is of this class);
    support (images) and groups of the class. Precision of a class that is never named and recall
    of one that is not there are empty.

    Args:
        run: A finished classifier.
        test: Name of a further test; None: the main one.

    Raises:
        ValueError: The run has no such test, or its predictions are damaged.
    """
    return tabulate_classes(run.predictions(test), run.classes)


def tabulate_classes(frame: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the table of `build_class_table` for predictions, which may pool several seeds.

    Args:
        frame: As `FinishedRun.predictions` gives it.
        classes: K names, in the order of the rows.
    """
    groups = frame["group"].to_numpy()
    rows = []
    for name in classes:
        is_class = (frame["label"] == name).to_numpy()
        is_called = (frame["pred"] == name).to_numpy()
        is_hit = is_class & is_called
        recall = estimate_share(is_hit, is_class, groups)
        total = int(is_class.sum() + is_called.sum())
        row: dict[str, Any] = {"class": name}
        row |= _columns("precision", estimate_share(is_hit, is_called, groups))
        row |= _columns("recall", recall)
        row["f1"] = 2 * int(is_hit.sum()) / total if total else float("nan")
        row["accuracy"] = float((is_class == is_called).mean())
        row |= {"support": recall.num_images, "groups": recall.num_groups}
        rows.append(row)
    return pd.DataFrame(rows)


def format_class_table(table: pd.DataFrame) -> str:
    """Return the table of `build_class_table` as text of at most 80 columns."""
    lines = [
        f"  {'class':{_LABEL_WIDTH}} {'precision':20}  {'recall (sensitivity)':20} f1    support"
    ]
    for row in table.to_dict("records"):
        lines.append(
            f"  {row['class'][:_LABEL_WIDTH]:{_LABEL_WIDTH}} {format_score(row, 'precision'):20}  "
            f"{format_score(row, 'recall'):20} {_format_number(row['f1']):5}{row['support']:8d}"
        )
    return "\n".join(lines)


def class_table_to_markdown(table: pd.DataFrame) -> str:
    """Return the table of `build_class_table`, or what was read of it from CSV, as Markdown."""
    lines = [
        "| class | precision | recall (sensitivity) | F1 | accuracy | support |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        cells = [
            str(row["class"]),
            format_score(row, "precision"),
            format_score(row, "recall"),
            _format_number(row["f1"]),
            _format_number(row["accuracy"]),
            str(row["support"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_score(row: dict[str, Any], name: str) -> str:
    """Return a score of a table's row with its interval, ``0.912 [0.880, 0.941]``."""
    if pd.isna(row[name]):
        return _UNKNOWN
    if pd.isna(row[f"{name}_low"]):
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _format_number(value: float) -> str:
    return _UNKNOWN if pd.isna(value) else f"{value:.3f}"


def _columns(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
