"""How well can renal carcinoma tiles be reconstructed from a small latent map?

Trains the autoencoder whose frozen encoder the fusion uses, with 1 - SSIM on unlabelled pRCC
images, 20 epochs (4 on the synthetic set).

    python experiments/prcc_autoencoder.py --data-root DIR [--tile-size 256]

Time: about 6 images of 512x512 a second on two cores with bf16. The source system reports a loss
of 9.3e-4, which is no reference: its SSIM had the wrong data range.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.images import ImageDataset
from datasets.samples import SampleSet, limit_training
from datasets.sources.prcc import TileDataset, cut_tiles, read_prcc
from datasets.taxonomy import SPLITS, Split
from experiments.cli import run_script
from experiments.options import RunOptions
from experiments.pictures import autoencoder_pictures
from experiments.training import announce_data, fit, open_run
from models.autoencoder import Autoencoder
from trainers.autoencoder import AutoencoderTrainer
from trainers.device import launch_fabric, seed_all
from trainers.finish import describe_data, describe_splits, finish_autoencoder
from trainers.hooks import default_hooks
from trainers.run import read_finished

EXPERIMENT = "prcc_autoencoder"
EPOCHS, SYNTHETIC_EPOCHS = 20, 4


@dataclass(frozen=True)
class Options(RunOptions):
    """Options of the autoencoder."""

    tile_size: int | None = None
    """Cut images into square tiles of this side in pixels; default: whole images, resized."""


def main(options: Options) -> Path:
    """Train the autoencoder, or find it finished; return its run folder."""
    announce_data(options)
    fabric = launch_fabric(options.device, options.precision, options.seed)
    images = read_prcc(options.find_data_root(), skip_unreadable=options.skip_unreadable)
    images = limit_training(images, options.max_train_images)
    epochs = SYNTHETIC_EPOCHS if images.is_synthetic else EPOCHS
    config = options.trainer_config(epochs, augment="flips-15")
    folder = Path(EXPERIMENT, f"seed-{options.seed}")
    facts = {"tile_size": options.tile_size}
    with open_run(fabric, options, folder, images, config, facts) as run:
        if not run.is_finished:
            data = {split: _open(images, split, options.tile_size) for split in SPLITS}
            run.record_seen([*images.of_split("train"), *images.of_split("val")])
            seed_all(options.seed)
            hooks = default_hooks(run.run_dir, "autoencoder", autoencoder_pictures())
            trainer = AutoencoderTrainer(
                fabric, Autoencoder(), data["train"], data["val"], config, hooks
            )
            fit(run, trainer)
            splits = describe_splits({name: part.samples for name, part in data.items()}, ())
            summary = {"experiment": EXPERIMENT, "seed": options.seed, "splits": splits}
            finish_autoencoder(
                run, trainer, data["test"], {**summary, "data": describe_data(images)}
            )
        if fabric.is_global_zero:
            test = read_finished(run.run_dir)[1]["test"]
            print(f"Autoencoder: test SSIM {test['ssim']:.4f}; written to {run.run_dir}")
        return run.run_dir


def _open(images: SampleSet, split: Split, tile_size: int | None) -> ImageDataset | TileDataset:
    samples = images.of_split(split)
    if tile_size is None:
        return ImageDataset(samples, (), Autoencoder.input_size)
    return TileDataset(cut_tiles(samples, tile_size), Autoencoder.input_size)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
