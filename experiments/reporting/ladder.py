"""The ladder of small CNNs as one table, beside what the source system reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import pandas as pd

from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.reported import REPORTED
from experiments.reporting.tables import SYNTHETIC_NOTE, estimate_runs

_EXPERIMENT: Final = "small_cnn"


def build_ladder_table(runs: Mapping[str, FinishedRun]) -> pd.DataFrame:
    """Return a row a variant.

    Columns: variant, splits, seed, epochs, best_epoch, parameters (trained), frozen; train_accuracy
    (over the epoch's steps, dropout and all), val_accuracy and test_accuracy of the model that was
    kept; test_low and test_high, its 95 % interval over photographs; test_restricted, where the
    model may name only classes that have images; test_images, test_photographs; reported_train,
    reported_val and reported_test of the source system (empty where it reports none); synthetic.

    Args:
        runs: By variant, all on the same splits.
    """
    return pd.DataFrame([_describe(variant, run) for variant, run in runs.items()])


def format_ladder(table: pd.DataFrame) -> str:
    """Return the table of `build_ladder_table` as text of at most 80 columns."""
    lines = [SYNTHETIC_NOTE, ""] if table["synthetic"].any() else []
    some = table.iloc[0]
    lines += [
        f"Accuracy of the kept epoch; test: {some['test_images']} images of "
        f"{some['test_photographs']} photographs,",
        "95 % intervals over photographs; source: training/validation/test as reported",
        "",
        f"{'variant':13}{'parameters':>11}{'epoch':>7}{'train':>7}{'val':>7}{'test':>7} "
        f"{'interval':14}{'source':>13}",
    ]
    for row in table.to_dict("records"):
        epoch = f"{row['best_epoch']}/{row['epochs']}"
        reported = "/".join(
            "-" if pd.isna(row[name]) else f"{row[name]:.2f}"[1:]
            for name in ("reported_train", "reported_val", "reported_test")
        )
        lines.append(
            f"{row['variant']:13}{row['parameters']:11,}{epoch:>7}{row['train_accuracy']:7.3f}"
            f"{row['val_accuracy']:7.3f}{row['test_accuracy']:7.3f} "
            f"[{row['test_low']:.3f}, {row['test_high']:.3f}]{reported:>13}"
        )
    return "\n".join(lines)


def find_reported_accuracy(
    variant: str, split: Literal["train", "validation", "test"]
) -> float | None:
    """Return what the source system reports of a variant, whose validation leaks; None: nothing."""
    found = (
        score.value
        for score in REPORTED
        if _EXPERIMENT in score.experiments
        and score.settings.get("variant") == variant
        and (score.metric, score.split) == ("accuracy", split)
    )
    return next(found, None)


def _describe(variant: str, run: FinishedRun) -> dict[str, Any]:
    summary, test = run.summary, run.summary["test"]
    kept = run.metrics().set_index("epoch").loc[summary["best_epoch"]]
    found = estimate_runs([run])["accuracy"]
    return {
        "variant": variant,
        "splits": summary["protocol"],
        "seed": summary["seed"],
        "epochs": summary["epochs"],
        "best_epoch": summary["best_epoch"],
        "parameters": summary["parameters"]["trained"],
        "frozen": summary["parameters"]["frozen"],
        "train_accuracy": kept["train/accuracy"],
        "val_accuracy": kept["val/accuracy"],
        "test_accuracy": found.value,
        "test_low": found.low,
        "test_high": found.high,
        "test_restricted": test["restricted"]["accuracy"],
        "test_images": found.num_images,
        "test_photographs": found.num_groups,
        "reported_train": find_reported_accuracy(variant, "train"),
        "reported_val": find_reported_accuracy(variant, "validation"),
        "reported_test": find_reported_accuracy(variant, "test"),
        "synthetic": run.is_synthetic,
    }
