"""Can a ResNeXt without pretrained weights tell the cells of acute myeloid leukaemia apart?

Trains on the layout of AML-Cytomorphology_LMU, 20 epochs, the rate reaching 0.01; 80/10/10,
stratified, copies of a photograph together. Each epoch shows 10,000 images of each class, drawn
from its training images and flipped and turned by any angle as they are read. Images are read at
400 pixels, as published (--input-size). Blast and atypical cells are told by sums of the class
probabilities, at thresholds chosen on validation.

    python experiments/aml_resnext.py --data-root DIR [--folds 5 [--fold K]] [--backbone NAME]

With --folds each image is tested once and the pooled result is written; --fold runs one of them.
Classes without an image are dropped and named.

Time: without --data-root about a minute on two cores; the published protocol needs a GPU.
Matek et al. (2019) report ROC areas of 0.991 (blast) and 0.992 (atypical).
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.protocols import Protocol, open_protocol
from datasets.published import PublishedSet, drop_absent_classes, select_classes
from experiments.classifiers import PublishedOptions, train_classifier
from experiments.cli import run_script
from experiments.folds import pool_folds
from experiments.reporting.load_runs import FinishedRun
from experiments.results import show_cells, show_folded_cells
from models.registry import BackboneSpec
from trainers.config import TrainerConfig

EXPERIMENT = "aml_resnext"
EPOCHS, SYNTHETIC_EPOCHS = 20, 6
IMAGES_PER_CLASS, SYNTHETIC_IMAGES_PER_CLASS = 10_000, 30
INPUT_SIZE, SYNTHETIC_INPUT_SIZE = 400, 64
PROTOCOL = "80-10-10"
_SHARE = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options(PublishedOptions):
    """Options of the AML classifier."""

    backbone: str = "resnext50_32x4d"
    """Any torchvision or timm classifier; its weights are random."""
    norm: Literal["batch", "group"] = "batch"
    """Normalization inside the backbone."""
    input_size: int | None = None
    """Side of the images in pixels. Default: 400, as published; 64 for synthetic images."""
    images_per_class: int | None = None
    """Images of each class an epoch. Default: 10,000; 30 for synthetic images."""
    folds: int = 0
    """Cross-validate with so many folds instead of one test split of 10 %."""
    fold: int | None = None
    """Train this fold only, from 0. Default: all of them, and the pooled result."""
    ignore_classes: tuple[str, ...] = ()
    """Classes to leave out, e.g. of which there are too few images to divide."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: Naming the flag.
        """
        super().__post_init__()
        for flag, value in (
            ("--input-size", self.input_size),
            ("--images-per-class", self.images_per_class),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{flag} must be 1 or more, not {value}.")
        if self.folds and self.folds < 2:
            raise ValueError(f"--folds must be 2 or more, or 0 for none, not {self.folds}.")
        if self.fold is not None and not 0 <= self.fold < self.folds:
            allowed = f"0 to {self.folds - 1}" if self.folds else "of use with --folds only"
            raise ValueError(f"--fold {self.fold}: a fold is {allowed}.")

    def find_input_size(self) -> int:
        """Return the side of the images in pixels."""
        return self.input_size or (SYNTHETIC_INPUT_SIZE if self.is_synthetic else INPUT_SIZE)


def main(options: Options) -> FinishedRun:
    """Train and test, or find it finished; return the run, or the pooled one of all folds."""
    published = select_classes(options.read("aml"), (), options.ignore_classes)
    published, absent = drop_absent_classes(published)
    if absent:
        log.warning(
            "Dropped %d of %d classes, of which there is no image: %s.",
            len(absent),
            len(absent) + len(published.classes),
            ", ".join(absent),
        )
    if not options.folds:
        run = _train(options, published, absent, Protocol(_SHARE, _SHARE), PROTOCOL)
        show_cells(run)
        return run
    numbers = range(options.folds) if options.fold is None else [options.fold]
    runs = [_train_fold(options, published, absent, number) for number in numbers]
    if options.fold is not None:
        show_cells(runs[0])
        return runs[0]
    name = f"folds-{options.folds}"
    folder = Path(EXPERIMENT, name, "pooled", f"seed-{options.seed}")
    pooled = pool_folds(runs, options.find_runs_root() / folder, name)
    show_folded_cells(pooled, runs)
    return pooled


def make_config(options: Options, *, is_synthetic: bool) -> TrainerConfig:
    """Return the trainer's configuration."""
    epochs = SYNTHETIC_EPOCHS if is_synthetic else EPOCHS
    default = SYNTHETIC_IMAGES_PER_CLASS if is_synthetic else IMAGES_PER_CLASS
    return replace(
        options.trainer_config(epochs, augment="flips-360"),
        images_per_class=options.images_per_class or default,
    )


def _train_fold(
    options: Options, published: PublishedSet, absent: list[str], number: int
) -> FinishedRun:
    name = f"folds-{options.folds}"
    # A tenth of all images validates, as without folds.
    share = _SHARE / (1 - 1 / options.folds)
    protocol = Protocol(share, 0.0, num_folds=options.folds, fold=number)
    return _train(replace(options, fold=number), published, absent, protocol, name)


def _train(
    options: Options,
    published: PublishedSet,
    absent: list[str],
    protocol: Protocol,
    name: str,
) -> FinishedRun:
    protocol = replace(protocol, copies="photograph" if options.find_copies else None)
    cells = open_protocol(
        published, protocol, options.cache_root, skip_unreadable=options.skip_unreadable
    )
    size = options.find_input_size()
    spec = BackboneSpec(options.backbone, norm=options.norm, input_size=(size, size))
    part = [name] if options.fold is None else [name, f"fold-{options.fold}"]
    folder = Path(EXPERIMENT, *part, f"seed-{options.seed}")
    facts = {"protocol": "-".join(part), "absent_classes": absent}
    config = make_config(options, is_synthetic=cells.is_synthetic)
    return train_classifier(options, folder, cells, spec, config, facts=facts)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
