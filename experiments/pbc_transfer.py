"""Does a trunk that learnt the cells of acute myeloid leukaemia help with normal blood cells?

Trains on PBC's 8 classes, 80/10/10, 3,000 images of each class an epoch drawn from its training
images, flipped and turned by any angle. Phase 1, 10 epochs: the trunk of experiments/aml_resnext.py
frozen, batch normalization too, a new top at rate 0.01. Phase 2, 10 epochs: everything at 1e-5 but
batch normalization, whose parameters and statistics stay. Both phases are tested.

    python experiments/pbc_transfer.py --data-root DIR --from-run RUN
    python experiments/pbc_transfer.py --data-root DIR --from-scratch [--backbone NAME]
    python experiments/pbc_transfer.py --data-root DIR --backbone NAME [--backbone-weights PATH]

The second trains all layers of an untrained network for 20 epochs, the rate reaching 0.01; the
third takes another trunk, e.g. efficientnet_b0 or densenet121 with ImageNet weights, through both
phases. All are tested on the same images, so that experiments/compare.py can compare them.

Time: without --data-root, the AML run included, about two minutes on two cores.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.protocols import Protocol, open_protocol
from datasets.published import drop_absent_classes
from experiments import aml_resnext
from experiments.classifiers import PublishedOptions, train_classifier
from experiments.cli import run_script
from experiments.reporting.load_runs import FinishedRun
from experiments.results import show_phases
from experiments.transfer import (
    Start,
    require_unseen,
    start_from_library,
    start_from_run,
    start_from_scratch,
)
from models.backbones import PRETRAINED
from trainers.config import Stage, TrainerConfig
from trainers.errors import RunError
from trainers.run import SUMMARY

EXPERIMENT = "pbc_transfer"
EPOCHS, SYNTHETIC_EPOCHS = 10, 3
IMAGES_PER_CLASS, SYNTHETIC_IMAGES_PER_CLASS = 3_000, 30
SOURCE_SEED = 0
_SHARE = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options(PublishedOptions):
    """Options of the transfer."""

    epochs: int | None = None
    """Of each of the two phases; from scratch twice as many. Default: 10; 3 on synthetic images."""
    lr: float = 0.01
    """Of phase 1; from scratch the peak of the OneCycle schedule."""
    tuning_lr: float = 1e-5
    """Of phase 2, for all layers that learn."""
    from_run: Path | None = None
    """Finished run whose trunk, backbone, norm and input size are taken. Default: that of
    aml_resnext.py below the runs root."""
    from_scratch: bool = False
    """Train an untrained network for the same number of epochs."""
    backbone: str | None = None
    """Any torchvision or timm classifier, instead of --from-run. From scratch: resnext50_32x4d."""
    backbone_weights: str | None = None
    """With --backbone: pretrained (default), random (an untrained control), or a file."""
    norm: Literal["batch", "group"] | None = None
    """Normalization inside the backbone, from scratch. Default: batch."""
    input_size: int | None = None
    """Side of the images with --backbone or --from-scratch. Default: 400; 64 if synthetic."""
    images_per_class: int | None = None
    """Images of each class an epoch. Default: 3,000; 30 for synthetic images."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, alone or together.

        Raises:
            ValueError: Naming the flags.
        """
        super().__post_init__()
        for flag, number in (
            ("--tuning-lr", self.tuning_lr),
            ("--input-size", self.input_size),
            ("--images-per-class", self.images_per_class),
        ):
            if number is not None and not number > 0:
                raise ValueError(f"{flag} must be larger than 0, not {number}.")
        of_library = self.backbone is not None and not self.from_scratch
        own = self.backbone is not None or self.from_scratch
        for flag, given, is_useful, use in (
            ("--from-scratch", self.from_scratch, self.from_run is None, "without --from-run"),
            ("--backbone", self.backbone, self.from_run is None, "without --from-run"),
            ("--backbone-weights", self.backbone_weights, of_library,
             "with --backbone and without --from-scratch"),
            ("--norm", self.norm, self.from_scratch, "with --from-scratch"),
            ("--input-size", self.input_size, own, "with --backbone or --from-scratch"),
        ):  # fmt: skip
            if given and not is_useful:
                raise ValueError(
                    f"{flag} is of use {use} only; a run brings its own trunk, backbone, norm and "
                    "input size. Leave out one of the flags."
                )


def main(options: Options) -> FinishedRun:
    """Train and test in both phases, or find it finished; return the run."""
    # First, since drawing the splits of a whole set takes minutes.
    start = _find_start(options)
    published, absent = drop_absent_classes(options.read("pbc"))
    if absent:
        log.warning("Dropped the classes without an image: %s.", ", ".join(absent))
    copies: Literal["photograph"] | None = "photograph" if options.find_copies else None
    cells = open_protocol(
        published,
        Protocol(_SHARE, _SHARE, copies=copies),
        options.cache_root,
        skip_unreadable=options.skip_unreadable,
    )
    if start.run_dir is not None:
        require_unseen(start.run_dir, cells)
    run = train_classifier(
        options,
        Path(EXPERIMENT, start.variant, f"seed-{options.seed}"),
        cells,
        start.spec,
        make_config(options, is_synthetic=cells.is_synthetic, is_transfer=start.is_transfer),
        weights=start.weights,
        initialise=start.initialise,
        facts={"variant": start.variant, "source": start.source, "absent_classes": absent},
    )
    phases = {"stage-1": "Phase 1, trunk frozen", None: "Phase 2, tuned without batch norm"}
    show_phases(run, phases if start.is_transfer else {None: "From scratch"})
    return run


def make_config(options: Options, *, is_synthetic: bool, is_transfer: bool) -> TrainerConfig:
    """Return the trainer's configuration: both phases, or one training from scratch."""
    epochs = options.epochs or (SYNTHETIC_EPOCHS if is_synthetic else EPOCHS)
    default = SYNTHETIC_IMAGES_PER_CLASS if is_synthetic else IMAGES_PER_CLASS
    config = replace(
        options.trainer_config(epochs, augment="flips-360"),
        epochs=2 * epochs,
        images_per_class=options.images_per_class or default,
    )
    if not is_transfer:
        return config
    rate = options.tuning_lr
    tuning = Stage(epochs, rate, trunk_lr=rate, train_batch_norm=False)
    return replace(config, stages=(Stage(epochs, options.lr), tuning))


def _find_start(options: Options) -> Start:
    default = aml_resnext.SYNTHETIC_INPUT_SIZE if options.is_synthetic else aml_resnext.INPUT_SIZE
    size = options.input_size or default
    if options.from_scratch:
        backbone = options.backbone or aml_resnext.Options.backbone
        return start_from_scratch(backbone, options.norm or "batch", size)
    if options.backbone is not None:
        return start_from_library(options.backbone, options.backbone_weights or PRETRAINED, size)
    run_dir = options.from_run or _find_aml_run(options)
    return start_from_run(run_dir, is_synthetic=options.is_synthetic)


def _find_aml_run(options: Options) -> Path:
    """Return the AML run below the runs root; for synthetic cells it is trained if need be."""
    folder = Path(aml_resnext.EXPERIMENT, aml_resnext.PROTOCOL, f"seed-{SOURCE_SEED}")
    run_dir = options.find_runs_root() / folder
    if (run_dir / SUMMARY).is_file():
        return run_dir
    if not options.is_synthetic:
        raise RunError(
            f"There is no finished run in {run_dir}. Pass --from-run RUN of "
            "experiments/aml_resnext.py, or --from-scratch, or --backbone NAME."
        )
    log.info("Training the AML run first, on synthetic cells.")
    return aml_resnext.main(
        aml_resnext.Options(
            runs_root=options.find_runs_root(),
            cache_root=options.cache_root,
            seed=SOURCE_SEED,
            device=options.device,
            precision=options.precision,
            num_workers=options.num_workers,
            resume=True,
        )
    ).path


if __name__ == "__main__":
    run_script(main, Options, __doc__)
