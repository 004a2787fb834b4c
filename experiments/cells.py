"""The training that base and fused cell classifiers share; they differ in their encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.cells import open_cells
from datasets.images import FeatureLookup
from datasets.samples import SampleSet, limit_training
from datasets.taxonomy import LabelPercent
from experiments.options import RunOptions
from experiments.reporting.load_runs import FinishedRun
from experiments.training import fit_and_test_classifier, open_run, show_classifier_result
from models.fusion import Combine, FusionModel
from models.registry import FusionSpec, describe_model
from trainers.device import launch_fabric, seed_all
from trainers.encoders import TrainedEncoder
from trainers.errors import RunError
from trainers.feature_extraction import ensure_features


@dataclass(frozen=True)
class CellOptions(RunOptions):
    """How a cell classifier is trained."""

    split: LabelPercent = 100
    """Share of the training labels that is used, in percent."""
    masks: bool = True
    """Add image x mask as further training images where a mask exists."""
    class_weights: bool = False
    """Weigh the loss of a class by the inverse of its frequency."""
    balanced_sampling: bool = False
    """Draw each class equally often, with replacement."""


def train_cells(
    options: CellOptions,
    experiment: str,
    default_epochs: int,
    encoders: Sequence[TrainedEncoder],
    combine: Combine = "sum",
) -> FinishedRun:
    """Train and test a cell classifier with `encoders`, or find it finished; return its run.

    Raises:
        DatasetError: The data cannot be used.
        RunError: The run folder cannot be used, or encoders learnt from synthetic images are to
            meet real cells.
    """
    fabric = launch_fabric(options.device, options.precision, options.seed)
    cells = open_cells(
        options.find_data_root(),
        options.split,
        use_masks=options.masks,
        check_counts=options.check_counts,
        skip_unreadable=options.skip_unreadable,
    )
    cells = limit_training(cells, options.max_train_images)
    _require_same_world(cells, encoders)
    config = replace(
        options.trainer_config(default_epochs),
        class_weights=options.class_weights,
        balanced_sampling=options.balanced_sampling,
    )
    facts = {
        "label_percent": options.split,
        "combine": combine if encoders else None,
        "model": describe_model(FusionSpec(tuple(e.spec for e in encoders), combine)),
        "encoders": {trained.encoder.name: trained.describe() for trained in encoders},
    }
    folder = Path(experiment, f"split-{options.split}", f"seed-{options.seed}")
    with open_run(fabric, options, folder, cells, config, facts) as run:
        if not run.is_finished:
            features: dict[str, FeatureLookup] = {
                trained.encoder.name: ensure_features(
                    fabric,
                    trained.encoder,
                    cells.samples,
                    options.cache_root,
                    num_workers=options.num_workers,
                )
                for trained in encoders
            }
            frozen = [trained.encoder for trained in encoders]
            seed_all(options.seed)
            fit_and_test_classifier(
                run,
                FusionModel(frozen, len(cells.classes), combine),
                cells,
                config,
                label_percent=options.split,
                facts={"experiment": experiment, "seed": options.seed, **facts},
                title=f"{experiment} {options.split} %",
                features=features,
            )
        return show_classifier_result(run)


def _require_same_world(cells: SampleSet, encoders: Sequence[TrainedEncoder]) -> None:
    for trained in encoders:
        if trained.is_synthetic and not cells.is_synthetic:
            raise RunError(
                f"The encoder {trained.encoder.name} learnt from {trained.data}, but {cells.name} "
                "are real cells. Pass --prcc-run and --cam16-run of runs on real tissue, or "
                "another --runs-root."
            )
