"""What the AML and PBC scripts print of a finished run and write beside it, by one process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from experiments.reporting.binary import format_binary
from experiments.reporting.figures_folds import draw_fold_rocs
from experiments.reporting.fold_scores import (
    find_divided_groups,
    format_fold_scores,
    score_folds,
)
from experiments.reporting.folds import build_folded_table, evaluate_folds, format_folds
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.run_files import (
    data_of,
    find_answerable,
    format_one_vs_rest,
    write_binary_files,
    write_class_files,
    write_picture,
    write_records,
)
from experiments.reporting.tables import format_result


def show_cells(run: FinishedRun) -> None:
    """Show blast and atypical as binary tests, of a run whose scores are shown already.

    Writes ``classes.csv``, ``confusion_matrix.png``, ``binary.json`` and ``roc.png``.
    """
    if not _is_first_process():
        return
    write_class_files(run)
    results = write_binary_files(run)
    print(f"\n{format_binary(results) if results else _no_binary(run)}")


def show_folded_cells(pooled: FinishedRun, runs: Sequence[FinishedRun]) -> None:
    """Show and write scores and binary tests of the pooled run of a cross-validation.

    Args:
        pooled: Of `folds.pool_folds`.
        runs: One a fold, in their order.
    """
    if not _is_first_process():
        return
    write_class_files(pooled)
    print(f"\nAll {len(runs)} folds, each image tested once:\n{format_result(pooled)}\n")
    print(f"{format_fold_scores(score_folds(runs), find_divided_groups(runs))}\n")
    results = [evaluate_folds(runs, task) for task in find_answerable(pooled.classes)]
    if results:
        write_records(pooled, "binary.json", build_folded_table(results))
        picture = draw_fold_rocs(results, data_of(pooled), is_synthetic=pooled.is_synthetic)
        write_picture(pooled, "roc.png", picture)
    print(format_folds(results) if results else _no_binary(pooled))
    print(f"\nWritten to {pooled.path}")


def show_phases(run: FinishedRun, phases: Mapping[str | None, str]) -> None:
    """Show one-vs-rest scores by class of the tests after each phase.

    Writes ``classes.csv`` and ``confusion_matrix.png``, for an earlier phase with its name.

    Args:
        run: The run.
        phases: What each test is called, by its name in the summary; None: the main test.
    """
    if not _is_first_process():
        return
    for test, title in phases.items():
        accuracy = run.test_metrics(test)["accuracy"]
        print(f"\n{title}: accuracy {accuracy:.3f}; by class, one class against the rest:\n")
        print(format_one_vs_rest(write_class_files(run, test)))


def _no_binary(run: FinishedRun) -> str:
    return f"No binary test: {', '.join(run.classes)} are all blast or atypical, or none is."


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
