"""Can a small head on a frozen ImageNet backbone tell tumor from normal lymph node tiles?

Trains the tumor classifier whose five features the fusion uses, 20 epochs (30 on the small
synthetic set).

    python experiments/camelyon16_resnet18.py --data-root DIR [--backbone NAME]

DIR holds CAM16_100cls_10mask, or tiles that experiments/tile_slides.py cut from slides.

Time: a minute on two cores. The source system reports loss 0.330 and accuracy 0.875 on 216 tiles.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.images import ImageDataset
from datasets.samples import SampleSet, limit_training
from datasets.sources.camelyon16 import read_camelyon16_tiles
from datasets.wsi.training import SlideTileDataset, is_tile_root, read_slide_tiles
from experiments.classifiers import build_or_random
from experiments.cli import run_script
from experiments.options import RunOptions
from experiments.training import (
    OpenImages,
    announce_data,
    fit_and_test_classifier,
    open_run,
    show_classifier_result,
)
from models.backbones import PRETRAINED, build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.frozen import hash_state
from models.registry import CamelyonSpec, describe_model
from trainers.device import launch_fabric, seed_all

EXPERIMENT = "camelyon16_resnet18"
EPOCHS, SYNTHETIC_EPOCHS = 20, 30


@dataclass(frozen=True)
class BackboneOptions(RunOptions):
    """Which frozen backbone the tumor classifier stands on."""

    backbone: str = "resnet18"
    """Any torchvision or timm classifier."""
    backbone_weights: str = PRETRAINED
    """pretrained, random, or the path of a safetensors file or state dict."""


@dataclass(frozen=True)
class Options(BackboneOptions):
    """Options of the tumor classifier."""

    lr: float = 0.003
    """Peak of the OneCycle schedule; at the source system's 0.01 this head fell to one class."""
    masks: bool = True
    """Add image x mask as further training tiles where a mask exists."""
    group_pattern: str | None = None
    """Regular expression that finds a tile's group (slide, tissue core) in its file name."""


def main(options: Options) -> Path:
    """Train the tumor classifier, or find it finished; return its run folder."""
    announce_data(options)
    fabric = launch_fabric(options.device, options.precision, options.seed)
    tiles, open_images = _read_tiles(options)
    tiles = limit_training(tiles, options.max_train_images)
    tiles.require_all_classes(
        advice="Add tiles, or cut more slides with experiments/tile_slides.py."
    )
    epochs = SYNTHETIC_EPOCHS if tiles.is_synthetic else EPOCHS
    config = options.trainer_config(epochs, augment="flips-15")
    seed_all(options.seed)
    backbone = build_or_random(
        lambda weights: build_backbone(options.backbone, weights),
        options.backbone_weights,
        is_synthetic=tiles.is_synthetic,
    )
    facts = {
        "backbone": backbone.name,
        "backbone_sha256": hash_state(backbone.trunk),
        "model": describe_model(CamelyonSpec(backbone.name)),
    }
    folder = Path(EXPERIMENT, f"seed-{options.seed}")
    with open_run(fabric, options, folder, tiles, config, facts) as run:
        if not run.is_finished:
            fit_and_test_classifier(
                run,
                CamelyonClassifier(backbone),
                tiles,
                config,
                facts={"experiment": EXPERIMENT, "seed": options.seed, **facts},
                title="tumor classifier",
                open_images=open_images,
            )
        show_classifier_result(run)
        return run.run_dir


def _read_tiles(options: Options) -> tuple[SampleSet, OpenImages]:
    """Return the tiles, cut from slides by tile_slides.py or sorted into folders."""
    root = options.find_data_root()
    if is_tile_root(root):
        for flag, value in (
            ("--group-pattern", options.group_pattern),
            ("--check-counts", options.check_counts),
            ("--skip-unreadable", options.skip_unreadable),
        ):
            if value:
                raise ValueError(
                    f"{flag} is for tiles in folders; {root} was cut by experiments/tile_slides.py,"
                    " which groups, counts and reads slides itself. Leave it out."
                )
        return read_slide_tiles(root), SlideTileDataset
    tiles = read_camelyon16_tiles(
        root,
        use_masks=options.masks,
        check_counts=options.check_counts,
        group_pattern=options.group_pattern,
        skip_unreadable=options.skip_unreadable,
    )
    return tiles, ImageDataset


if __name__ == "__main__":
    run_script(main, Options, __doc__)
