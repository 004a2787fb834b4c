"""Linear probes as runs: the control that any trained head has to beat."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from datasets.files import write_whole
from datasets.samples import Sample, SampleSet
from datasets.taxonomy import SPLITS, LabelPercent, Split
from experiments.cells import read_cells, read_features, require_same_world
from experiments.options import RunOptions
from experiments.reporting.load_runs import FinishedRun
from experiments.training import open_run, show_classifier_result
from trainers.config import TrainerConfig
from trainers.device import launch_fabric
from trainers.encoders import TrainedEncoder
from trainers.finish import describe_data, describe_splits, write_predictions
from trainers.hparams import write_hparams
from trainers.metrics import epoch_metrics, test_metrics
from trainers.outputs import Outputs
from trainers.probe import Probe, fit_probe, pool_features
from trainers.run import METRICS, PREDICTIONS, VAL_PREDICTIONS, Run, describe_commit


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
        RunError: As `train_cells`.
    """
    fabric = launch_fabric(options.device, options.precision, options.seed)
    cells = read_cells(options, split, masks=False)
    require_same_world(cells, encoders)
    known = {
        "label_percent": split,
        "probe": {"balanced": is_balanced},
        "encoders": {trained.encoder.name: trained.describe() for trained in encoders},
        **(facts or {}),
    }
    config = TrainerConfig(epochs=1, seed=options.seed, class_weights=is_balanced)
    with open_run(fabric, options, folder, cells, config, known) as run:
        if not run.is_finished:
            stores = list(read_features(fabric, options, cells, encoders).values())
            start = time.perf_counter()
            parts = {name: cells.of_split(name, split) for name in SPLITS}
            features = {name: pool_features(samples, stores) for name, samples in parts.items()}
            labels = {name: _index_labels(samples, cells) for name, samples in parts.items()}
            probe = fit_probe(
                (features["train"], labels["train"]),
                (features["val"], labels["val"]),
                len(cells.classes),
                is_balanced=is_balanced,
            )
            outputs = {
                name: Outputs(
                    torch.arange(len(labels[name])),
                    probe.predict(features[name]),
                    torch.tensor(labels[name]),
                )
                for name in SPLITS
            }
            run.record_seen([*parts["train"], *parts["val"]])
            summary = {
                "experiment": folder.parts[0],
                "seed": options.seed,
                **known,
                "data": describe_data(cells),
                "splits": describe_splits(parts, cells.classes),
                **_describe_fit(probe, time.perf_counter() - start),
            }
            if fabric.is_global_zero:
                _write_outputs(run, outputs, parts, cells)
            test = test_metrics(outputs["test"].values, outputs["test"].labels, cells.classes)
            run.finish({**summary, "test": test})
            if fabric.is_global_zero:
                write_hparams(run.run_dir)
        return show_classifier_result(run)


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


def _describe_fit(probe: Probe, seconds: float) -> dict[str, Any]:
    return {
        "best_epoch": 1,
        "epochs": 1,
        "steps": 1,
        "seconds": seconds,
        "strength": probe.strength,
        "parameters": {"trained": probe.num_parameters, "frozen": 0},
        **describe_commit(),
    }
