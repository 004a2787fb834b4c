"""Makes finished run folders without any training."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CLASSES = ("a", "b", "c")
MakeRun = Callable[..., Path]


@pytest.fixture(scope="package", autouse=True)
def quick_garbage_collection() -> Iterator[None]:
    """Keep what is imported out of it: statsmodels collects at every correction of p-values."""
    gc.freeze()
    yield
    gc.unfreeze()


def draw_probs(labels: list[str], classes: tuple[str, ...], skill: float, seed: int) -> np.ndarray:
    """Probabilities (N, K) that favour the true class the more, the larger `skill`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), len(classes)))
    logits[np.arange(len(labels)), [classes.index(label) for label in labels]] += skill
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def write_predictions(path: Path, labels, probs, groups, classes, prefix: str) -> dict:
    frame = pd.DataFrame(probs, columns=[f"prob_{name}" for name in classes])
    frame.insert(0, "sample_id", [f"{prefix}/{index:04}.png" for index in range(len(labels))])
    frame.insert(1, "group", groups)
    frame.insert(2, "label", labels)
    # The order in the file must not matter.
    frame.sample(frac=1, random_state=len(prefix)).to_csv(path, index=False)
    right = np.array(classes)[np.argmax(probs, axis=1)] == np.array(labels)
    scores = dict.fromkeys(("loss", "balanced_accuracy", "macro_f1", "brier"), 0.5)
    return {
        **scores,
        "expected_calibration_error": 0.1,
        "accuracy": float(right.mean()),
        "per_class": {name: {} for name in classes},
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A function that writes a finished run below ``runs`` and returns its folder."""

    def make(
        folder: str,
        labels: list[str] | None = None,
        probs: np.ndarray | None = None,
        *,
        groups: list[str] | None = None,
        classes: tuple[str, ...] = CLASSES,
        skill: float = 2.0,
        seed: int = 0,
        experiment: str = "small_cnn",
        data: str = "cells",
        is_synthetic: bool = False,
        config: dict | None = None,
        options: dict | None = None,
        other_tests: tuple[str, ...] = (),
        has_val: bool = True,
    ) -> Path:
        path = tmp_path / "runs" / folder
        path.mkdir(parents=True)
        labels = labels or [classes[index % len(classes)] for index in range(60)]
        groups = groups or [str(index) for index in range(len(labels))]
        probs = draw_probs(labels, classes, skill, seed) if probs is None else np.asarray(probs)
        shared = (labels, probs, groups, classes)
        test = write_predictions(path / "predictions.csv", *shared, "test")
        others = {
            name: write_predictions(path / f"predictions-{name}.csv", *shared, "test")
            for name in other_tests
        }
        if has_val:
            write_predictions(path / "val_predictions.csv", *shared, "val")
        counts = {name: labels.count(name) for name in classes}
        split = {"images": counts, "masked": 0, "groups": len(set(groups))}
        summary = {
            "experiment": experiment,
            "seed": seed,
            "data": {"name": data, "synthetic": is_synthetic},
            "splits": {"train": split, "val": split, "test": split},
            "test": test,
            **({"other_tests": others} if others else {}),
            "best_epoch": 2,
            "epochs": 3,
            "seconds": 75.0,
            "parameters": {"trained": 1234, "frozen": 5},
        }
        options = {"data_root": "/somewhere/secret/cells", "seed": seed, **(options or {})}
        content = {"experiment": experiment, "seed": seed, **(config or {}), "options": options}
        (path / "config.json").write_text(json.dumps(content))
        (path / "summary.json").write_text(json.dumps(summary))
        losses = {f"val/loss_by_class/{name}": [1.5, 0.7, 0.9] for name in classes}
        metrics = pd.DataFrame({"epoch": [1, 2, 3], "val/loss": [1.4, 0.6, 0.8], **losses})
        metrics.to_csv(path / "metrics.csv", index=False)
        return path

    return make
