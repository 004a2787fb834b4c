"""Does a fine-tuned Xception read blood cells, or does it know the photographs again?

The 12,444 images of the Kaggle set are augmented copies of 348 photographs. An Xception with a
tapered head is trained in two rounds in one run, first the head alone, then everything at a very
low rate, and both are tested. The splits: `official` (TRAIN and TEST as published, validation from
TRAIN by photograph), `grouped` (pooled and drawn by photograph), `leaky` (pooled and drawn at
random over all images, as the source system did), or `all` three side by side.

    python experiments/bccd_xception.py --data-root DIR --splits all

Time: at 240x320 with bf16 an image takes one core about 0.05 s in round 1 and in a test, and 0.2 s
in round 2; about a minute for one of the splits without --data-root. The source system reports 0.26
untrained, 0.82 with a frozen trunk and 0.96 tuned, on leaky splits. Its gray-level histograms are
those of experiments/explore_data.py; misread cells are in TensorBoard.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.samples import SampleSet
from datasets.transforms import Augment
from experiments.classifiers import train_classifier
from experiments.cli import run_script
from experiments.kaggle import KaggleOptions, describe_siblings, draw_kaggle, read_kaggle
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.split_tables import build_split_table, format_split_table
from experiments.reporting.tables import write_table
from models.backbones import PRETRAINED
from models.registry import BackboneSpec
from trainers.config import Stage, TrainerConfig
from trainers.device import hide_bars

EXPERIMENT: Final = "bccd_xception"
ROUND_EPOCHS, SYNTHETIC_ROUND_EPOCHS = 10, 1
INPUT_SIZE, SYNTHETIC_INPUT_SIZE = (240, 320), (72, 96)

Splits = Literal["official", "grouped", "leaky"]
SPLITS: Final[tuple[Splits, ...]] = get_args(Splits)
DRAWS: Final[dict[Splits, tuple[bool, bool]]] = {
    "official": (False, False),
    "grouped": (True, False),
    "leaky": (True, True),
}
"""Whether TRAIN and TEST are pooled, and whether single images are drawn."""


@dataclass(frozen=True)
class Options(KaggleOptions):
    """Options of the Xception."""

    splits: Splits | Literal["all"] = "official"
    """Of what the model is tested on: new photographs, or (leaky) known ones; all: each in turn."""
    backbone: str = "legacy_xception"
    """Any torchvision or timm classifier."""
    backbone_weights: str = PRETRAINED
    """pretrained, random, or the path of a safetensors file or state dict."""
    input_size: tuple[int, int] | None = None
    """Height and width in pixels. Default: 240 320, for synthetic images 72 96."""
    dropout: float = 0.2
    """Probability in [0, 1) before each layer of the head; the source system's is not known."""
    epochs: int | None = None
    """Of each of the two rounds. Default: 10, for synthetic images 1."""
    lr: float = 0.001
    """Rate of the head in round 1, constant."""
    tune_lr: float = 1e-5
    """Rate of everything in round 2, constant."""
    clip: Literal["value", "norm", "none"] = "none"
    """How gradients are clipped: by value, by total norm, or not."""
    augment: Augment = "none"
    """Our own, on top of the copies: flips-15 or flips-360."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: Naming the flag.
        """
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be in [0, 1), not {self.dropout}.")
        if not self.tune_lr > 0:
            raise ValueError(f"--tune-lr must be larger than 0, not {self.tune_lr}.")
        if self.input_size is not None and min(self.input_size) < 1:
            raise ValueError(f"--input-size must be larger than 0, not {self.input_size}.")


def main(options: Options) -> dict[str, FinishedRun]:
    """Train and test on each of the splits asked for; return the runs by the splits' name."""
    published = read_kaggle(options)
    chosen = SPLITS if options.splits == "all" else (options.splits,)
    runs: dict[str, FinishedRun] = {}
    for splits in chosen:
        pool, is_leaky = DRAWS[splits]
        cells = draw_kaggle(options, published, pool=pool, is_leaky=is_leaky)
        runs[splits] = _train(replace(options, splits=splits), splits, cells)
    if options.splits == "all" and not hide_bars():
        table = build_split_table(runs)
        name = Path(_name_folder(options, "splits"), f"seed-{options.seed}.csv")
        path = options.find_runs_root() / EXPERIMENT / name
        write_table(table, path)
        print(f"\n{format_split_table(table)}\n\nWritten to {path}")
    return runs


def _train(options: Options, splits: Splits, cells: SampleSet) -> FinishedRun:
    return train_classifier(
        options,
        Path(EXPERIMENT, _name_folder(options, splits), f"seed-{options.seed}"),
        cells,
        describe_spec(options, is_synthetic=cells.is_synthetic),
        configure(options, is_synthetic=cells.is_synthetic),
        weights=options.backbone_weights,
        facts={"protocol": splits, "siblings_in_training": describe_siblings(cells)},
    )


def _name_folder(options: Options, splits: str) -> str:
    return splits if options.backbone == Options.backbone else f"{splits}-{options.backbone}"


def describe_spec(options: Options, *, is_synthetic: bool) -> BackboneSpec:
    """Return the model: a backbone with the tapered head."""
    size = options.input_size or (SYNTHETIC_INPUT_SIZE if is_synthetic else INPUT_SIZE)
    return BackboneSpec(options.backbone, head="tapered", dropout=options.dropout, input_size=size)


def configure(options: Options, *, is_synthetic: bool) -> TrainerConfig:
    """Return the configuration of the two rounds."""
    epochs = options.epochs or (SYNTHETIC_ROUND_EPOCHS if is_synthetic else ROUND_EPOCHS)
    rounds = (
        Stage(epochs, options.lr),
        Stage(epochs, options.tune_lr, trunk_lr=options.tune_lr),
    )
    config = replace(options, epochs=2 * epochs).trainer_config(2 * epochs, augment=options.augment)
    return replace(config, stages=rounds, optimizer="adam", weight_decay=0.0)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
