"""A cross-validation's folds pooled into one finished run: each image is tested once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from datasets.files import write_whole
from experiments.reporting.folds import pool_predictions
from experiments.reporting.load_runs import FinishedRun
from trainers.metrics import test_metrics
from trainers.run import CONFIG, METRICS, PREDICTIONS, SUMMARY, write_json

_LEAST_PROB = 1e-300


def pool_folds(runs: Sequence[FinishedRun], run_dir: Path, protocol: str) -> FinishedRun:
    """Write what all folds predicted into a run folder of its own and return it.

    It holds no model. Its test is the union of the folds' tests; ``metrics.csv`` holds means over
    the folds. It is written again from the folds at each call.

    Args:
        runs: One a fold, in their order.
        run_dir: The folder.
        protocol: What config and summary call it.

    Raises:
        ValueError: As `pool_predictions`.
    """
    frame = pool_predictions(runs)
    classes = runs[0].classes
    probs = torch.tensor(frame[[f"prob_{name}" for name in classes]].to_numpy())
    labels = torch.tensor([classes.index(name) for name in frame["label"]])
    known = {"protocol": protocol, "data": _pool_data(runs)}
    dropped = {"fold", "initial_sha256"}
    options = {**runs[0].config["options"], "fold": None}
    config = {k: v for k, v in runs[0].config.items() if k not in dropped}
    config |= {**known, "options": options}
    summary = {k: v for k, v in runs[0].summary.items() if k not in dropped | {"best_epoch"}}
    summary |= {
        **known,
        "splits": _describe_test(frame, classes),
        "test": test_metrics(probs.clamp_min(_LEAST_PROB).log(), labels, classes),
        "best_epochs": [run.summary["best_epoch"] for run in runs],
        **{name: sum(run.summary[name] for run in runs) for name in ("steps", "seconds")},
    }
    (run_dir / SUMMARY).unlink(missing_ok=True)
    columns = ["sample_id", "group", "label", *(f"prob_{name}" for name in classes)]
    _write_csv(frame[columns], run_dir / PREDICTIONS)
    curves = pd.concat([run.metrics() for run in runs]).groupby("epoch").mean().reset_index()
    _write_csv(curves, run_dir / METRICS)
    write_json(run_dir / CONFIG, config)
    write_json(run_dir / SUMMARY, summary)
    return FinishedRun(run_dir, config, summary)


def _pool_data(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return the entry on the data; the fingerprint is that of all folds' draws together."""
    prints = "".join(run.summary["data"]["fingerprint"] for run in runs)
    fingerprint = hashlib.sha256(prints.encode()).hexdigest()
    return {**runs[0].summary["data"], "fingerprint": fingerprint}


def _describe_test(frame: pd.DataFrame, classes: Sequence[str]) -> Mapping[str, Any]:
    counts = frame["label"].value_counts()
    nothing = {"images": dict.fromkeys(classes, 0), "masked": 0, "groups": 0}
    images = {name: int(counts.get(name, 0)) for name in classes}
    test = {"images": images, "masked": 0, "groups": frame["group"].nunique()}
    return {"train": nothing, "val": nothing, "test": test}


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with write_whole(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
