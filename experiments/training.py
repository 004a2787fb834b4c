"""What the training scripts share between opening their data and showing the result."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datasets.images import FeatureLookup, ImageDataset, ImageSize
from datasets.samples import Sample, SampleSet
from datasets.taxonomy import SPLITS, LabelPercent
from datasets.wsi.training import SlideTileDataset
from experiments.options import RunOptions
from experiments.pictures import classifier_pictures, draw_confusion, draw_misread
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.tables import format_result
from models.registry import input_size_of
from trainers.checkpoint import read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig
from trainers.device import Fabric, precision_of
from trainers.finish import describe_data, describe_splits, finish_classifier
from trainers.hooks import UnfreezingHook, default_hooks
from trainers.hparams import HPARAMS_EVENTS, write_hparams
from trainers.outputs import Outputs
from trainers.run import Run, read_finished
from trainers.trainer import Trainer

log = logging.getLogger(__name__)
AnyOptions = TypeVar("AnyOptions", bound=RunOptions)
OpenImages = Callable[
    [Sequence[Sample], Sequence[str], ImageSize, dict[str, FeatureLookup] | None],
    ImageDataset | SlideTileDataset,
]


def announce_data(options: RunOptions) -> None:
    """Say in one line when the synthetic set is used."""
    if options.data_root is None:
        log.warning("No --data-root given: using the built-in SYNTHETIC set, not real cells.")


def options_for(script_options: type[AnyOptions], options: RunOptions, seed: int) -> AnyOptions:
    """Return the options of another script that a script runs first: same data, same machine.

    What shapes that training (epochs, rates, batch) keeps its own defaults; an unfinished run is
    resumed.
    """
    return script_options(
        data_root=options.find_data_root(),
        runs_root=options.find_runs_root(),
        cache_root=options.cache_root,
        seed=seed,
        device=options.device,
        precision=options.precision,
        num_workers=options.num_workers,
        keep_on_gpu=options.keep_on_gpu,
        resume=True,
        max_train_images=options.max_train_images,
        skip_unreadable=options.skip_unreadable,
        check_counts=options.check_counts,
    )


def open_run(
    fabric: Fabric,
    options: RunOptions,
    folder: Path,
    sample_set: SampleSet,
    config: TrainerConfig,
    facts: Mapping[str, Any],
) -> Run:
    """Return the run folder `folder` below the runs root.

    Args:
        fabric: Launched.
        options: Of the script.
        folder: E.g. ``base_wbc/split-50/seed-0``; its first part is the experiment's name.
        sample_set: Of the run.
        config: Of the trainer.
        facts: What else the result depends on: label percent, model, encoders.

    Raises:
        RunError: As `Run`.
    """
    trainer = {
        name: value
        for name, value in asdict(config).items()
        if name not in ("num_workers", "keep_on_gpu")
        # Runs from before there was a choice go on.
        and (name, value) not in (("accumulate", 1), ("views", 1))
    }
    identity = {
        "experiment": folder.parts[0],
        "seed": options.seed,
        "data": describe_data(sample_set),
        "classes": list(sample_set.classes),
        "trainer": trainer,
        "precision": precision_of(fabric),
        "processes": fabric.world_size,
        **facts,
    }
    return Run(
        fabric,
        options.find_runs_root() / folder,
        identity,
        asdict(options),
        resume=options.resume,
        overwrite=options.overwrite,
    )


def fit(run: Run, trainer: Trainer) -> None:
    """Fit from the run's last checkpoint, or from the start."""
    if run.last_checkpoint is not None:
        trainer.load_state_dict(read_checkpoint(run.last_checkpoint), run.last_checkpoint)
        trainer.last_checkpoint = run.last_checkpoint
        log.info("Resuming after epoch %d, step %d.", trainer.epoch, trainer.global_step)
    trainer.fit()


def fit_and_test_classifier(
    run: Run,
    model: nn.Module,
    sample_set: SampleSet,
    config: TrainerConfig,
    *,
    label_percent: LabelPercent = 100,
    facts: Mapping[str, Any],
    title: str,
    features: dict[str, FeatureLookup] | None = None,
    open_images: OpenImages = ImageDataset,
    other_tests: Mapping[str, Sequence[Sample]] | None = None,
) -> None:
    """Train, choose the best epoch on validation, test once, and write everything down.

    Args:
        run: Not finished.
        model: To train.
        sample_set: With all splits.
        config: Of the trainer.
        label_percent: Which training samples are used.
        facts: Entries for the summary.
        title: Of the progress bar.
        features: Stored features by encoder name.
        open_images: Makes a dataset of samples; by default of their image files.
        other_tests: Samples of further tests, by name.
    """
    image_size = input_size_of(model)

    def open_data(samples: Sequence[Sample]) -> ImageDataset | SlideTileDataset:
        return open_images(samples, sample_set.classes, image_size, features)

    data = {split: open_data(sample_set.of_split(split, label_percent)) for split in SPLITS}
    run.record_seen([*data["train"].samples, *data["val"].samples])
    hooks = default_hooks(run.run_dir, title, classifier_pictures())
    if config.stages:
        hooks.insert(0, UnfreezingHook())
    trainer = ClassifierTrainer(run.fabric, model, data["train"], data["val"], config, hooks)
    fit(run, trainer)
    splits = describe_splits(
        {name: part.samples for name, part in data.items()}, data["train"].classes
    )

    def draw(outputs: Outputs) -> dict[str, NDArray[np.uint8]]:
        return {
            "test/confusion_matrix": draw_confusion(outputs, trainer.classes, "test"),
            "test/misread": draw_misread(outputs, data["test"], "test"),
        }

    finish_classifier(
        run,
        trainer,
        data["test"],
        {**facts, "data": describe_data(sample_set), "splits": splits},
        {name: open_data(samples) for name, samples in (other_tests or {}).items()},
        draw,
    )


def show_classifier_result(run: Run) -> FinishedRun:
    """Print a finished run's test result and where everything lies; return the run."""
    config, summary = read_finished(run.run_dir)
    finished = FinishedRun(run.run_dir, config, summary)
    if run.fabric.is_global_zero:
        # Here, since a kill after the summary was written may have come before it.
        is_missing = not (run.run_dir / HPARAMS_EVENTS).is_file()
        if is_missing and os.access(run.run_dir, os.W_OK):
            write_hparams(run.run_dir)
        print(f"\n{format_result(finished)}\n")
        print(f"Written to {run.run_dir}; look with:")
        print(f"  tensorboard --logdir {run.run_dir}")
    return finished
