"""What the scripts of the sibling systems share: a published set, a model by name, one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from datasets.catalogue import PreparedSource, read_source
from datasets.images import ImageDataset
from datasets.published import PublishedSet
from datasets.samples import Sample, SampleSet, limit_training
from datasets.sources.wbc_bundle import report_counts
from datasets.synthetic import ensure_synthetic_published, is_synthetic_root
from experiments.options import RunOptions
from experiments.reporting.load_runs import FinishedRun
from experiments.training import (
    OpenImages,
    fit_and_test_classifier,
    open_run,
    show_classifier_result,
)
from models.backbones import PRETRAINED, RANDOM
from models.errors import WeightsError
from models.frozen import hash_state
from models.registry import ModelSpec, build_model, describe_model
from trainers.config import TrainerConfig
from trainers.device import launch_fabric, seed_all

log = logging.getLogger(__name__)
Built = TypeVar("Built")


@dataclass(frozen=True)
class PublishedOptions(RunOptions):
    """Options of a script that reads a published set in its own layout."""

    find_copies: bool = True
    """Keep copies of one photograph in one split; they are found by their pixels, once."""

    def find_published_root(self, source: PreparedSource) -> Path:
        """Return the data root; that of the synthetic set is drawn if need be."""
        if self.data_root is None:
            log.warning(
                "No --data-root given: using a SYNTHETIC set in the layout of %s, not real cells.",
                source,
            )
        return self.data_root or ensure_synthetic_published(self.cache_root, source)

    def read(self, source: PreparedSource) -> PublishedSet:
        """Return the published set, its counts compared unless it is synthetic.

        Raises:
            DatasetError: It is not there, or has other counts and --check-counts is set.
        """
        published = read_source(source, self.find_published_root(source))
        if not is_synthetic_root(published.root):
            report_counts(list(published.differences), strict=self.check_counts)
        return published


def train_classifier(
    options: RunOptions,
    folder: Path,
    cells: SampleSet,
    spec: ModelSpec,
    config: TrainerConfig,
    *,
    weights: str = RANDOM,
    initialise: Callable[[nn.Module], None] | None = None,
    facts: Mapping[str, Any] | None = None,
    other_tests: Mapping[str, Sequence[Sample]] | None = None,
    open_images: OpenImages = ImageDataset,
) -> FinishedRun:
    """Train and test a classifier, or find it finished; return its run.

    Args:
        options: Of the script.
        folder: Of the run below the runs root; its first part is the experiment's name.
        cells: With all splits.
        spec: Of the model.
        config: Of the trainer.
        weights: Of the model's trunk: ``pretrained``, ``random`` or a file; see `build_or_random`.
        initialise: Changes the new model, e.g. takes over another run's trunk.
        facts: What else the result depends on; entries of config and summary.
        other_tests: Samples of further tests, by name.
        open_images: Makes a dataset of samples; by default of their image files.

    Raises:
        ModelError: The model cannot be built, or its weights are not to be had.
        RunError: The run folder cannot be used.
    """
    fabric = launch_fabric(
        options.device, options.precision, options.seed, frozen_parts=bool(config.stages)
    )
    cells = limit_training(cells, options.max_train_images)
    seed_all(options.seed)
    model = build_or_random(
        lambda chosen: build_model(spec, len(cells.classes), chosen),
        weights,
        is_synthetic=cells.is_synthetic,
    )
    if initialise is not None:
        initialise(model)
    known = {"model": describe_model(spec), **(facts or {})}
    if weights != RANDOM or initialise is not None:
        known["initial_sha256"] = hash_state(model)
    with open_run(fabric, options, folder, cells, config, known) as run:
        if not run.is_finished:
            # Again, so that it does not matter what building the model has drawn.
            seed_all(options.seed)
            fit_and_test_classifier(
                run,
                model,
                cells,
                config,
                facts={"experiment": folder.parts[0], "seed": options.seed, **known},
                title=" ".join(folder.parts[:-1]),
                other_tests=other_tests,
                open_images=open_images,
            )
        return show_classifier_result(run)


def build_or_random(build: Callable[[str], Built], weights: str, *, is_synthetic: bool) -> Built:
    """Return what `build` makes of `weights`; on synthetic images random ones do in need.

    Args:
        build: Takes ``pretrained``, ``random`` or a file.
        weights: What the user asked for.
        is_synthetic: No real result is lost if pretrained weights cannot be had.

    Raises:
        WeightsError: The weights are not to be had, or are those of another model.
    """
    try:
        return build(weights)
    except WeightsError as error:
        if not is_synthetic or weights != PRETRAINED:
            raise
        log.warning("WARNING: %s\nThe data are synthetic: using random weights.", error)
        return build(RANDOM)
