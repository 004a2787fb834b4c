"""A cross-validation's folds pooled into one finished run: each image is tested once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from datasets.files import remove_unfinished, write_whole
from datasets.locks import OwnedLock
from experiments.reporting.folds import pool_predictions
from experiments.reporting.load_runs import FinishedRun
from trainers.errors import RunError
from trainers.metrics import test_metrics
from trainers.run import (
    CONFIG,
    LOCK,
    METRICS,
    PREDICTIONS,
    SUMMARY,
    read_finished,
    tidy_up,
    write_json,
)

_LEAST_PROB = 1e-300


def pool_folds(runs: Sequence[FinishedRun], run_dir: Path, protocol: str) -> FinishedRun:
    """Write what all folds predicted into a run folder of its own and return it.

    It holds no model. Its test is the union of the folds' tests; ``metrics.csv`` holds means over
    the folds. One that is there already is written again only where it is not that of these folds.

    Args:
        runs: One a fold, in their order.
        run_dir: The folder.
        protocol: What config and summary call it.

    Raises:
        ValueError: As `pool_predictions`.
        DatasetError: The folder cannot be written to.
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
    if _holds(run_dir, config, summary):
        tidy_up(run_dir)
        return FinishedRun(run_dir, config, summary)
    columns = ["sample_id", "group", "label", *(f"prob_{name}" for name in classes)]
    curves = pd.concat([run.metrics() for run in runs]).groupby("epoch").mean().reset_index()
    run_dir.mkdir(parents=True, exist_ok=True)
    with OwnedLock(run_dir / LOCK, run_dir, waits=True):
        remove_unfinished(run_dir)
        (run_dir / SUMMARY).unlink(missing_ok=True)
        _write_csv(frame[columns], run_dir / PREDICTIONS)
        _write_csv(curves, run_dir / METRICS)
        write_json(run_dir / CONFIG, config)
        write_json(run_dir / SUMMARY, summary)
    return FinishedRun(run_dir, config, summary)


def _holds(run_dir: Path, config: Mapping[str, Any], summary: Mapping[str, Any]) -> bool:
    """Return whether the folder holds a finished run with just these."""
    try:
        found = read_finished(run_dir)
    except RunError:  # Unfinished, or damaged.
        return False
    return found == tuple(json.loads(json.dumps(part, default=str)) for part in (config, summary))


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
