"""What is read off a finished run's predictions and kept beside them: tables and pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image

from datasets.files import write_whole
from experiments.reporting.binary import (
    AML_TASKS,
    BinaryResult,
    BinaryTask,
    build_binary_table,
    evaluate_binary,
)
from experiments.reporting.canvas import Picture
from experiments.reporting.class_tables import build_class_table
from experiments.reporting.figures import draw_confusion_matrix
from experiments.reporting.figures_curves import draw_binary_roc
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.tables import format_csv

_LABEL_WIDTH = 22


def write_class_files(run: FinishedRun, test: str | None = None) -> pd.DataFrame:
    """Write ``classes.csv`` and ``confusion_matrix.png`` of a test; return the first as a table.

    Args:
        run: A finished classifier.
        test: Name of a further test, which comes into the files' names; None: the main one.

    Raises:
        ValueError: As `build_class_table`.
    """
    suffix = f"-{test}" if test else ""
    table = build_class_table(run, test)
    _keep(run, f"classes{suffix}.csv", format_csv(table).encode())
    confusion = np.array(run.test_metrics(test)["confusion_matrix"])
    write_picture(
        run,
        f"confusion_matrix{suffix}.png",
        draw_confusion_matrix(confusion, run.classes, title_of(run, test)),
    )
    return table


def write_binary_files(run: FinishedRun) -> list[BinaryResult]:
    """Write ``binary.json`` and ``roc.png`` of the AML tests that the run's classes can answer.

    Returns:
        The results; empty, and nothing is written, where the run has no such class.

    Raises:
        ValueError: As `evaluate_binary`.
    """
    results = [evaluate_binary(run, task) for task in find_answerable(run.classes)]
    if results:
        write_records(run, "binary.json", build_binary_table(results))
        picture = draw_binary_roc(results, data_of(run), is_synthetic=run.is_synthetic)
        write_picture(run, "roc.png", picture)
    return results


def find_answerable(classes: Sequence[str]) -> list[BinaryTask]:
    """Return the AML tests of which `classes` hold a positive and a negative one."""
    return [task for task in AML_TASKS if 0 < len(task.positives & set(classes)) < len(classes)]


def format_one_vs_rest(table: pd.DataFrame) -> str:
    """Return accuracy, precision, sensitivity and support by class as text, as C2 reports them.

    Args:
        table: As `write_class_files` returns it; accuracy is that of the question whether an image
            is of the class or not.
    """
    names = ("accuracy", "precision", "sensitivity")
    lines = [f"  {'class':{_LABEL_WIDTH}}" + "".join(f"{name:>13}" for name in (*names, "support"))]
    for row in table.to_dict("records"):
        scores = (row["accuracy"], row["precision"], row["recall"])
        cells = "".join(f"{'-' if pd.isna(score) else f'{score:.3f}':>13}" for score in scores)
        lines.append(f"  {row['class']:{_LABEL_WIDTH}}{cells}{row['support']:13d}")
    return "\n".join(lines)


def title_of(run: FinishedRun, test: str | None = None) -> str:
    """Return what a picture of the run's test is called."""
    name = f"{run.summary['experiment']}, seed {run.summary['seed']}: {test or 'test'}"
    return f"{name}\non {data_of(run)}{', SYNTHETIC' if run.is_synthetic else ''}"


def data_of(run: FinishedRun) -> str:
    """Return what the run calls its data."""
    return str(run.summary["data"]["name"])


def write_picture(run: FinishedRun, name: str, picture: Picture) -> None:
    """Write a picture into the run folder, whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    _keep(run, name, buffer.getvalue())


def write_records(run: FinishedRun, name: str, table: pd.DataFrame) -> None:
    """Write a table's rows into the run folder as a JSON list; what is not known is null."""
    text = table.to_json(orient="records", indent=2, double_precision=15) + "\n"
    _keep(run, name, text.encode())


def _keep(run: FinishedRun, name: str, content: bytes) -> None:
    """Write a file, unless it is there with this content or the folder may not be written to."""
    path = run.path / name
    is_kept = path.is_file() and path.read_bytes() == content
    if not is_kept and os.access(run.path, os.W_OK):
        with write_whole(path) as temporary:
            temporary.write_bytes(content)
