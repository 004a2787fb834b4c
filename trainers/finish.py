"""The end of a run: the test split, once, with the best models; predictions and summary."""

# N samples, K classes

from __future__ import annotations

import csv
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.files import write_whole
from datasets.samples import Sample, SampleSet
from datasets.taxonomy import SPLITS, Split
from models.fusion import count_parameters
from trainers.autoencoder import AutoencoderTrainer
from trainers.checkpoint import load_model_state, read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.data import TrainingData
from trainers.hooks.tensorboard import log_pictures
from trainers.metrics import test_metrics
from trainers.outputs import Outputs
from trainers.run import (
    BEST_CHECKPOINT,
    PREDICTIONS,
    VAL_PREDICTIONS,
    Run,
    describe_commit,
    stage_checkpoint,
)
from trainers.trainer import Trainer

Draw = Callable[[Outputs], Mapping[str, NDArray[np.uint8]]]
"""Draws pictures (H, W, 3), by tag."""


def finish_classifier(
    run: Run,
    trainer: ClassifierTrainer,
    test_data: TrainingData,
    facts: Mapping[str, Any],
    other_tests: Mapping[str, TrainingData] | None = None,
    draw: Draw | None = None,
) -> None:
    """Evaluate the best model on the test split and write what came out.

    That is ``predictions.csv``, ``val_predictions.csv`` (on which thresholds are chosen) and
    ``summary.json``. The best model of each earlier stage is tested too, and the best model on each
    of `other_tests`: their metrics stand under ``other_tests`` in the summary, e.g. ``stage-1``,
    and their predictions in ``predictions-stage-1.csv``.

    Args:
        run: The run; not finished yet.
        trainer: After its fit.
        test_data: Test samples.
        facts: Entries of the summary that the caller knows, e.g. experiment and data.
        other_tests: Further test samples, by name.
        draw: Draws pictures of the test's logits for TensorBoard.
    """
    others: dict[str, Any] = {}
    for number in range(1, len(trainer.config.stages)):
        _load_model(run.run_dir / stage_checkpoint(number), trainer)
        name = f"stage-{number}"
        others[name], _ = _test(run, trainer, test_data, _predictions_of(name))
    best_epoch = _load_model(run.run_dir / BEST_CHECKPOINT, trainer)
    for name, data in (other_tests or {}).items():
        others[name], _ = _test(run, trainer, data, _predictions_of(name))
    _test(run, trainer, trainer.val_data, VAL_PREDICTIONS)
    test, outputs = _test(run, trainer, test_data, PREDICTIONS)
    summary = {
        **facts,
        "test": test,
        **({"other_tests": others} if others else {}),
        **_describe_fit(trainer, best_epoch),
    }
    if draw is not None and run.fabric.is_global_zero:
        log_pictures(run.run_dir, draw(outputs))
    run.finish(summary)


def finish_autoencoder(
    run: Run, trainer: AutoencoderTrainer, test_data: TrainingData, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Evaluate the best model on the test images and write ``summary.json``; see above."""
    best_epoch = _load_model(run.run_dir / BEST_CHECKPOINT, trainer)
    test = trainer.metrics_of(trainer.evaluate(test_data))
    summary = {**facts, "test": test, **_describe_fit(trainer, best_epoch)}
    run.finish(summary)
    return summary


def write_predictions(
    target: Path, outputs: Outputs, samples: Sequence[Sample], classes: Sequence[str]
) -> None:
    """Write a row a sample: id, group, label and a column a class probability.

    Args:
        target: CSV file, which appears whole or not at all.
        outputs: Logits.
        samples: In the order of the outputs' indices.
        classes: In the order of the logits.
    """
    probs = outputs.values.double().softmax(dim=1)
    columns = [f"prob_{name}" for name in classes]
    with write_whole(target) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sample_id", "group", "label", *columns])
        for index, row in zip(outputs.indices.tolist(), probs.tolist(), strict=True):
            sample = samples[index]
            writer.writerow([sample.sample_id, sample.group, sample.label, *row])


def describe_data(sample_set: SampleSet) -> dict[str, Any]:
    """Return the summary's entry on the data."""
    return {
        "name": sample_set.name,
        "fingerprint": sample_set.fingerprint,
        "synthetic": sample_set.is_synthetic,
        "skipped": list(sample_set.skipped),
        "left_out": dict(sample_set.left_out),
    }


def describe_splits(
    samples: Mapping[Split, Sequence[Sample]], classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return number of images by class, of masked ones among them, and of groups, by split."""
    names: Sequence[str | None] = classes or (None,)
    return {
        split: {
            "images": {
                name or "all": sum(sample.label == name for sample in samples[split])
                for name in names
            },
            "masked": sum(sample.mask_path is not None for sample in samples[split]),
            "groups": len({sample.group for sample in samples[split]}),
        }
        for split in SPLITS
    }


def _load_model(path: Path, trainer: Trainer) -> int:
    """Load the model of a checkpoint; return the epoch that it is of."""
    best = read_checkpoint(path)
    load_model_state(trainer.model.module, best["model"], path)
    return int(best["epoch"])


def _predictions_of(name: str) -> Path:
    return PREDICTIONS.with_stem(f"{PREDICTIONS.stem}-{name}")


def _test(
    run: Run, trainer: ClassifierTrainer, data: TrainingData, predictions: Path
) -> tuple[dict[str, Any], Outputs]:
    outputs = trainer.evaluate(data)
    if run.fabric.is_global_zero:
        write_predictions(run.run_dir / predictions, outputs, data.samples, data.classes)
    return test_metrics(outputs.values, outputs.labels, trainer.classes), outputs


def _describe_fit(trainer: Trainer, best_epoch: int) -> dict[str, Any]:
    trained, frozen = count_parameters(trainer.model.module)
    return {
        "best_epoch": best_epoch,
        "epochs": trainer.epoch,
        "steps": trainer.global_step,
        "seconds": trainer.train_seconds,
        "images_per_second": trainer.images_trained / max(trainer.train_seconds, 1e-9),
        "parameters": {"trained": trained, "frozen": frozen},
        "peak_memory_mb": _peak_memory_mb(),
        **describe_commit(),
    }


def _peak_memory_mb() -> dict[str, float]:
    """Return the largest resident size of this process and, with CUDA, of its allocations."""
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux kilobytes.
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if torch.cuda.is_available():
        peak["cuda"] = torch.cuda.max_memory_allocated() / 1e6
    return peak
