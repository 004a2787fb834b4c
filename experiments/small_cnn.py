"""Which way of taming a small CNN helps on new blood cells, and which only on known photographs?

The ladder of the source system on the Kaggle images at 60x80, with five outputs: the four classes
and "other", of which there is no image. A network that overfits, five ways to mend it, a baseline,
VGG16 and ResNet-50 frozen below the same dense layers, and the final network; `all` runs each and
ends in one table and one picture of curves.

    python experiments/small_cnn.py --data-root DIR --variant all [--splits leaky]

TEST is the test. Validation is drawn from TRAIN: by photograph (official), or at random over images
as the source system did, so that it holds copies of what is trained on (leaky).

30 epochs, 50 for l1-l2 and final. The source does not name its optimizer: here Adam at 0.0003,
constant, 16 images a step, no clipping. Time: about 300 images a second for a small CNN on two busy
cores with bf16; all without --data-root takes about a minute. The source reports 0.940 on its
validation for final and 0.84 on TEST.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from datasets.files import write_whole
from datasets.memory import ImageMemory
from datasets.samples import SampleSet
from experiments.classifiers import train_classifier
from experiments.cli import run_script
from experiments.kaggle import KaggleOptions, describe_siblings, draw_kaggle, read_kaggle
from experiments.ladder import (
    TRANSFER,
    VARIANT_NAMES,
    Variant,
    add_other,
    epochs_of,
    find_weights,
    require_weights,
    spec_of,
)
from experiments.reporting.figures_ladder import draw_ladder
from experiments.reporting.ladder import build_ladder_table, format_ladder
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.tables import write_table
from models.backbones import PRETRAINED
from trainers.config import Stage, TrainerConfig
from trainers.device import hide_bars

EXPERIMENT: Final = "small_cnn"


@dataclass(frozen=True)
class Options(KaggleOptions):
    """Options of the ladder."""

    variant: Variant | Literal["all"] = "final"
    """Step of the ladder; all: each, and one table."""
    splits: Literal["official", "leaky"] = "official"
    """How validation is drawn from TRAIN: by photograph, or at random (leaky)."""
    backbone_weights: str = PRETRAINED
    """Of vgg16 and resnet50: pretrained, random, a safetensors file or state dict, or a folder with
    such files of these names."""
    lr: float = 0.0003
    """Constant rate; the source system's is not known."""
    clip: Literal["value", "norm", "none"] = "none"
    """How gradients are clipped: by value, by total norm, or not."""


def main(options: Options) -> dict[str, FinishedRun]:
    """Train and test each variant asked for; return the runs by variant."""
    is_leaky = options.splits == "leaky"
    cells = add_other(draw_kaggle(options, read_kaggle(options), pool=False, is_leaky=is_leaky))
    chosen = VARIANT_NAMES if options.variant == "all" else (options.variant,)
    weights = {name: find_weights(options.backbone_weights, name) for name in chosen}
    if not cells.is_synthetic:
        for name in chosen:
            require_weights(name, weights[name])
    memory = ImageMemory()
    runs: dict[str, FinishedRun] = {
        name: _train(replace(options, variant=name), name, cells, weights[name], memory)
        for name in chosen
    }
    if options.variant == "all" and not hide_bars():
        _write_ladder(options, runs)
    return runs


def _train(
    options: Options, variant: Variant, cells: SampleSet, weights: str, memory: ImageMemory
) -> FinishedRun:
    folder = variant if options.splits == "official" else f"{variant}-{options.splits}"
    return train_classifier(
        options,
        Path(EXPERIMENT, folder, f"seed-{options.seed}"),
        cells,
        spec_of(variant),
        configure(options, variant, is_synthetic=cells.is_synthetic),
        weights=weights,
        facts={
            "variant": variant,
            "protocol": options.splits,
            "siblings_in_training": describe_siblings(cells),
        },
        open_images=memory.open_images,
    )


def configure(options: Options, variant: Variant, *, is_synthetic: bool) -> TrainerConfig:
    """Return the configuration of a step of the ladder."""
    config = options.trainer_config(epochs_of(variant, is_synthetic=is_synthetic))
    stages = (Stage(config.epochs, options.lr),) if variant in TRANSFER else ()
    # No decay of the weights: l1-l2 is the variant that has it.
    return replace(config, stages=stages, schedule="constant", optimizer="adam", weight_decay=0.0)


def _write_ladder(options: Options, runs: dict[str, FinishedRun]) -> None:
    """Print the table, and write it with the picture below the runs root."""
    parts = ["ladder"]
    parts += [options.splits] if options.splits != "official" else []
    parts += [f"seed-{options.seed}"] if options.seed else []
    path = options.find_runs_root() / EXPERIMENT / f"{'-'.join(parts)}.csv"
    table = build_ladder_table(runs)
    write_table(table, path)
    with write_whole(path.with_suffix(".png")) as temporary:
        Image.fromarray(draw_ladder(runs)).save(temporary, format="PNG")
    print(f"\n{format_ladder(table)}\n\nWritten to {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    run_script(main, Options, __doc__)
