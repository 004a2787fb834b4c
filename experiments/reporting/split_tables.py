"""One model on several splits of one set, side by side: what a leak is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.tables import SYNTHETIC_NOTE, estimate_runs, score_columns

_LAST: Final = "last"


def build_split_table(runs: Mapping[str, FinishedRun]) -> pd.DataFrame:
    """Return a row for each test of each run.

    Columns: splits, stage (``stage-1`` and so on, ``last`` for the model that the run ends with),
    train_images, train_photographs, test_images, test_photographs, siblings_in_training (share of
    test images whose photograph is trained on), and accuracy, balanced_accuracy and macro_f1, each
    with ``_sd`` (empty), ``_low`` and ``_high`` of its 95 % interval over photographs; synthetic.

    Args:
        runs: By the name of their splits; their summaries hold ``siblings_in_training``.
    """
    rows = []
    for splits, run in runs.items():
        train = run.summary["splits"]["train"]
        for test in (*run.other_tests, None):
            rows.append(
                {
                    "splits": splits,
                    "stage": test or _LAST,
                    "train_images": sum(train["images"].values()),
                    "train_photographs": train["groups"],
                    **_score(run, test),
                    "siblings_in_training": run.summary["siblings_in_training"]["test"],
                    "synthetic": run.is_synthetic,
                }
            )
    return pd.DataFrame(rows)


def format_split_table(table: pd.DataFrame) -> str:
    """Return the table of `build_split_table` as text of at most 80 columns."""
    lines = [SYNTHETIC_NOTE, ""] if table["synthetic"].any() else []
    lines += [
        "accuracy with a 95 % interval over photographs; siblings: test images of which",
        "another copy of the photograph was trained on",
        "",
        f"{'splits':10}{'test of':9}{'images':>7}{'photographs':>13}  {'accuracy':21}"
        f"{'balanced':>9}{'siblings':>9}",
    ]
    for row in table.to_dict("records"):
        interval = f"[{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]"
        lines.append(
            f"{row['splits']:10}{row['stage']:9}{row['test_images']:7d}"
            f"{row['test_photographs']:13d}  {row['accuracy']:.3f} {interval:15}"
            f"{row['balanced_accuracy']:9.3f}{row['siblings_in_training']:9.1%}"
        )
    return "\n".join(lines)


def _score(run: FinishedRun, test: str | None) -> dict[str, Any]:
    estimates = estimate_runs([run], test)
    some = estimates["accuracy"]
    scores = {"test_images": some.num_images, "test_photographs": some.num_groups}
    return scores | score_columns([run], estimates, test)
