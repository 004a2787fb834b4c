"""Training of cell classifiers: what one is made of is data, which studies vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets.cells import open_cells
from datasets.images import FeatureLookup, ImagesAsFeatures
from datasets.samples import Sample, SampleSet, limit_training
from datasets.taxonomy import LabelPercent
from datasets.transforms import Augment
from datasets.views import NumViews
from experiments.options import RunOptions
from experiments.reporting.load_runs import FinishedRun
from experiments.training import fit_and_test_classifier, open_run, show_classifier_result
from models.frozen import Encoder, FrozenEncoder
from models.fusion import Combine
from models.normalization import Norm
from models.registry import FusionSpec, describe_model
from trainers.config import TrainerConfig
from trainers.device import Fabric, launch_fabric, seed_all
from trainers.encoders import TrainedEncoder
from trainers.errors import RunError
from trainers.feature_extraction import ensure_features


@dataclass(frozen=True)
class CellRecipe:
    """What a cell classifier is made of, but for its encoders, and how it is trained.

    Attributes:
        epochs: Passes over the training set.
        combine: How the votes of CNN and encoders are combined.
        cnn_channels: Of the cell CNN's first maps.
        norm: Normalization in CNN and vote heads.
        encoder_rate: Learning rate of the encoders, as a share of that of the rest; None: they are
            frozen. Trained ones look at each image at their own size, which takes time and memory
            (with the two of tissue about 0.1 GB an image of the batch in bf16).
        augment: Random changes of the images that the cell CNN is shown; encoders do not see them.
        views: 8: CNN and encoders are shown one of the eight views of each training image, drawn
            anew each epoch.
        class_weights: Weigh the loss of a class by the inverse of its frequency.
        balanced_sampling: Draw each class equally often, with replacement.
        masks: Add image x mask as further training images where a mask exists.
    """

    epochs: int
    combine: Combine = "sum"
    cnn_channels: int = 64
    norm: Norm = "batch"
    encoder_rate: float | None = None
    augment: Augment = "none"
    views: NumViews = 1
    class_weights: bool = False
    balanced_sampling: bool = False
    masks: bool = True

    def configure(self, options: RunOptions) -> TrainerConfig:
        """Return the trainer's configuration; `epochs` give way to those of the options."""
        return replace(
            options.trainer_config(self.epochs, augment=self.augment),
            trunk_lr=None if self.encoder_rate is None else self.encoder_rate * options.lr,
            views=self.views,
            class_weights=self.class_weights,
            balanced_sampling=self.balanced_sampling,
        )


@dataclass(frozen=True)
class CellOptions(RunOptions):
    """How a cell classifier is trained."""

    split: LabelPercent = 100
    """Share of the training labels that is used, in percent."""
    masks: bool = True
    """Add image x mask as further training images where a mask exists."""
    views: NumViews = 1
    """8: show each training image in one of its eight views (quarter turns, plain and mirrored),
    drawn anew each epoch. Stored features then take 8 times the room for training images."""
    class_weights: bool = False
    """Weigh the loss of a class by the inverse of its frequency."""
    balanced_sampling: bool = False
    """Draw each class equally often, with replacement."""

    def make_recipe(self, epochs: int, combine: Combine = "sum") -> CellRecipe:
        """Return the recipe that these options ask for."""
        return CellRecipe(
            epochs,
            combine,
            views=self.views,
            class_weights=self.class_weights,
            balanced_sampling=self.balanced_sampling,
            masks=self.masks,
        )


def read_cells(options: RunOptions, split: LabelPercent, *, masks: bool) -> SampleSet:
    """Return the cells that the options name.

    Raises:
        DatasetError: The data cannot be used.
    """
    cells = open_cells(
        options.find_data_root(),
        split,
        use_masks=masks,
        check_counts=options.check_counts,
        skip_unreadable=options.skip_unreadable,
    )
    return limit_training(cells, options.max_train_images)


def train_cells(
    options: RunOptions,
    split: LabelPercent,
    folder: Path,
    recipe: CellRecipe,
    encoders: Sequence[TrainedEncoder] = (),
    facts: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Train and test a cell classifier with `encoders`, or find it finished; return its run.

    Args:
        options: Of the script.
        split: Share of the training labels that is used, in percent.
        folder: Of the run below the runs root; its first part is the experiment's name.
        recipe: What is trained, and how.
        encoders: Frozen; the recipe may unfreeze them.
        facts: What else is to be known of the run, e.g. its study.

    Raises:
        DatasetError: The data cannot be used.
        RunError: The run folder cannot be used, or encoders learnt from synthetic images are to
            meet real cells.
    """
    fabric = launch_fabric(options.device, options.precision, options.seed)
    cells = read_cells(options, split, masks=recipe.masks)
    require_same_world(cells, encoders)
    config = recipe.configure(options)
    if recipe.encoder_rate is not None:
        encoders = [trained.unfreeze() for trained in encoders]
    spec = FusionSpec(
        tuple(trained.spec for trained in encoders),
        recipe.combine,
        recipe.cnn_channels,
        recipe.norm,
    )
    known = {
        "label_percent": split,
        "combine": recipe.combine if encoders else None,
        "model": describe_model(spec),
        "encoders": {trained.encoder.name: trained.describe() for trained in encoders},
        **(facts or {}),
    }
    with open_run(fabric, options, folder, cells, config, known) as run:
        if not run.is_finished:
            turned = cells.of_split("train", split) if recipe.views > 1 else ()
            features = read_features(fabric, options, cells, encoders, turned)
            seed_all(options.seed)
            fit_and_test_classifier(
                run,
                spec.assemble([trained.encoder for trained in encoders], len(cells.classes)),
                cells,
                config,
                label_percent=split,
                facts={"experiment": folder.parts[0], "seed": options.seed, **known},
                title=f"{folder.parts[0]} {split} %",
                features=features,
            )
        return show_classifier_result(run)


def read_features(
    fabric: Fabric,
    options: RunOptions,
    cells: SampleSet,
    encoders: Sequence[TrainedEncoder],
    turned: Sequence[Sample] = (),
) -> dict[str, FeatureLookup]:
    """Return by encoder name what the model is given of all cells, of `turned` in all views.

    Of a frozen encoder that is its stored features, which are extracted where they are missing.
    """

    def read(encoder: Encoder) -> FeatureLookup:
        if not isinstance(encoder, FrozenEncoder):
            return ImagesAsFeatures(cells.samples, encoder.input_size)
        return ensure_features(
            fabric,
            encoder,
            cells.samples,
            options.cache_root,
            turned=turned,
            num_workers=options.num_workers,
        )

    return {trained.encoder.name: read(trained.encoder) for trained in encoders}


def require_same_world(cells: SampleSet, encoders: Sequence[TrainedEncoder]) -> None:
    """Refuse encoders that learnt from synthetic images for real cells.

    Raises:
        RunError: There is one.
    """
    for trained in encoders:
        if trained.is_synthetic and not cells.is_synthetic:
            raise RunError(
                f"The encoder {trained.encoder.name} learnt from {trained.data}, but {cells.name} "
                "are real cells. Pass --prcc-run and --cam16-run of runs on real tissue, or "
                "another --runs-root."
            )
