"""Linear probes as runs: the control that any trained head has to beat, and the strong recipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.files import write_whole
from datasets.images import FeatureLookup
from datasets.samples import Sample, SampleSet
from datasets.taxonomy import SPLITS, LabelPercent, Split
from experiments.cells import read_cells, read_features, require_same_world
from experiments.options import RunOptions
from experiments.reporting.load_runs import FinishedRun
from experiments.training import open_run, show_classifier_result
from models.fusion import count_parameters
from models.linear_probe import LinearProbe
from models.registry import ProbeSpec, describe_model
from trainers.checkpoint import save_checkpoint
from trainers.config import TrainerConfig
from trainers.device import launch_fabric
from trainers.encoders import TrainedEncoder
from trainers.finish import describe_data, describe_splits, write_predictions
from trainers.metrics import epoch_metrics, test_metrics
from trainers.outputs import Outputs
from trainers.probe import apply_probe, fit_probe, pool_features, read_views
from trainers.run import (
    BEST_CHECKPOINT,
    METRICS,
    PREDICTIONS,
    VAL_PREDICTIONS,
    Run,
    describe_commit,
)
from trainers.soft_regression import StandardizedFit
from trainers.strong_probe import StrongConfig, fit_strong_probe

Fit = Callable[[SampleSet, Mapping[str, FeatureLookup]], tuple[StandardizedFit, dict[str, Any]]]
"""Learns from cells and their stored features; returns the classifier and what to tell of it."""


def train_probe(
    options: RunOptions,
    split: LabelPercent,
    folder: Path,
    encoders: Sequence[TrainedEncoder],
    *,
    is_balanced: bool,
    facts: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Fit and test a probe on the encoders' pooled features, or find it finished; return its run.

    The regularization is chosen on validation, the test split seen once. There is no seed in it:
    what differs between runs is the draw, or an encoder.

    Args:
        options: Of the script.
        split: Share of the training labels that is used, in percent.
        folder: Of the run below the runs root; its first part is the experiment's name.
        encoders: One or more.
        is_balanced: Weigh classes by the inverse of their frequency.
        facts: What else is to be known of the run, e.g. its study.

    Raises:
        DatasetError: The data cannot be used.
        RunError: As `train_cells`, or an encoder changed during the run.
    """

    def fit(
        cells: SampleSet, stores: Mapping[str, FeatureLookup]
    ) -> tuple[StandardizedFit, dict[str, Any]]:
        parts = [cells.of_split(name, split) for name in ("train", "val")]
        train, val = (
            (pool_features(samples, list(stores.values())), _index_labels(samples, cells))
            for samples in parts
        )
        probe = fit_probe(train, val, len(cells.classes), is_balanced=is_balanced)
        return probe.to_layers(), {"strength": probe.strength}

    recipe = {"probe": {"balanced": is_balanced}, **(facts or {})}
    config = TrainerConfig(epochs=1, seed=options.seed, class_weights=is_balanced)
    return _run(options, split, folder, encoders, 1, config, recipe, fit, uses_all=False)


def train_strong_probe(
    options: RunOptions,
    split: LabelPercent,
    folder: Path,
    encoders: Sequence[TrainedEncoder],
    config: StrongConfig,
    facts: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Fit and test the strong recipe, or find it finished; return its run.

    Training cells outside the label subset take part without their labels.

    Args:
        options: Of the script.
        split: Share of the training labels that is used, in percent.
        folder: Of the run below the runs root; its first part is the experiment's name.
        encoders: One or more, which give vectors.
        config: Of the recipe.
        facts: What else is to be known of the run.

    Raises:
        DatasetError: The data cannot be used.
        RunError: As `train_cells`.
    """

    def fit(
        cells: SampleSet, stores: Mapping[str, FeatureLookup]
    ) -> tuple[StandardizedFit, dict[str, Any]]:
        labelled, val = cells.of_split("train", split), cells.of_split("val")
        known = {sample.sample_id for sample in labelled}
        hidden = [s for s in cells.of_split("train") if s.sample_id not in known]
        lookups = list(stores.values())
        seen = read_views(labelled, lookups)
        fitted, choices = fit_strong_probe(
            (seen, _index_labels(labelled, cells)),
            read_views(hidden, lookups) if hidden else seen[:0],
            (read_views(val, lookups), _index_labels(val, cells)),
            cells.classes,
            config,
        )
        return fitted, {"choices": choices, "unlabelled": len(hidden)}

    recipe = {"recipe": {"name": "strong", **asdict(config)}, **(facts or {})}
    trainer = TrainerConfig(epochs=1, seed=options.seed)
    views = config.test_views
    return _run(options, split, folder, encoders, views, trainer, recipe, fit, uses_all=True)


def _run(
    options: RunOptions,
    split: LabelPercent,
    folder: Path,
    encoders: Sequence[TrainedEncoder],
    num_views: int,
    config: TrainerConfig,
    recipe: Mapping[str, Any],
    fit: Fit,
    *,
    uses_all: bool,
) -> FinishedRun:
    """Fit and test; with `uses_all` on all views of all training cells, whatever the split."""
    fabric = launch_fabric(options.device, options.precision, options.seed)
    cells = read_cells(options, split, masks=False)
    require_same_world(cells, encoders)
    spec = ProbeSpec(tuple(trained.spec for trained in encoders), num_views)
    known = {
        "label_percent": split,
        "model": describe_model(spec),
        "encoders": {trained.encoder.name: trained.describe() for trained in encoders},
        **recipe,
    }
    with open_run(fabric, options, folder, cells, config, known) as run:
        if not run.is_finished:
            turned = cells.samples if uses_all else ()
            stores = read_features(fabric, options, cells, encoders, turned)
            start = time.perf_counter()
            fitted, told = fit(cells, stores)
            probe = spec.assemble([trained.encoder for trained in encoders], len(cells.classes))
            _load(probe, fitted)
            parts = {name: cells.of_split(name, split) for name in SPLITS}
            outputs = {
                name: apply_probe(probe, samples, _index_labels(samples, cells), stores)
                for name, samples in parts.items()
            }
            run.record_seen([*cells.of_split("train", 100 if uses_all else split), *parts["val"]])
            save_checkpoint(
                fabric, run.run_dir / BEST_CHECKPOINT, {"epoch": 1, "model": probe.state_dict()}
            )
            if fabric.is_global_zero:
                _write_outputs(run, outputs, parts, cells)
            for trained in encoders:
                trained.require_still(known["encoders"][trained.encoder.name]["sha256"])
            trained_count, frozen_count = count_parameters(probe)
            run.finish(
                {
                    "experiment": folder.parts[0],
                    "seed": options.seed,
                    **known,
                    **told,
                    "data": describe_data(cells),
                    "splits": describe_splits(parts, cells.classes),
                    "test": test_metrics(
                        outputs["test"].values, outputs["test"].labels, cells.classes
                    ),
                    "best_epoch": 1,
                    "epochs": 1,
                    "steps": 1,
                    "seconds": time.perf_counter() - start,
                    "parameters": {"trained": trained_count, "frozen": frozen_count},
                    **describe_commit(),
                }
            )
        return show_classifier_result(run)


def _load(probe: LinearProbe, fitted: StandardizedFit) -> None:
    state = {
        "shift": fitted.shift,
        "scale": fitted.scale,
        "linear.weight": fitted.fit.weight,
        "linear.bias": fitted.fit.bias,
    }
    probe.load_state_dict({**probe.state_dict(), **state})


def _index_labels(samples: Sequence[Sample], cells: SampleSet) -> list[int]:
    return [cells.classes.index(str(sample.label)) for sample in samples]


def _write_outputs(
    run: Run,
    outputs: Mapping[Split, Outputs],
    parts: Mapping[Split, Sequence[Sample]],
    cells: SampleSet,
) -> None:
    row: dict[str, float] = {"epoch": 1}
    splits: tuple[Split, ...] = ("train", "val")
    for name in splits:
        metrics = epoch_metrics(outputs[name].values, outputs[name].labels, cells.classes)
        row |= {f"{name}/{key}": value for key, value in metrics.items()}
    with write_whole(run.run_dir / METRICS) as temporary:
        pd.DataFrame([row]).to_csv(temporary, index=False)
    files: dict[Split, Path] = {"val": VAL_PREDICTIONS, "test": PREDICTIONS}
    for name, file in files.items():
        write_predictions(run.run_dir / file, outputs[name], parts[name], cells.classes)
