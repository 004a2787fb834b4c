"""The training of autoencoders, on whatever images."""

from __future__ import annotations

from pathlib import Path

from datasets.images import ImageDataset
from datasets.samples import SampleSet, limit_training
from datasets.sources.prcc import TileDataset, cut_tiles
from datasets.taxonomy import SPLITS, Split
from experiments.options import RunOptions
from experiments.pictures import autoencoder_pictures
from experiments.training import fit, open_run
from models.autoencoder import Autoencoder
from trainers.autoencoder import AutoencoderTrainer
from trainers.device import launch_fabric, seed_all
from trainers.finish import describe_data, describe_splits, finish_autoencoder
from trainers.hooks import default_hooks
from trainers.run import read_finished


def train_autoencoder(
    options: RunOptions,
    folder: Path,
    images: SampleSet,
    default_epochs: int,
    tile_size: int | None = None,
) -> Path:
    """Train an autoencoder, or find it finished; return its run folder.

    Args:
        options: Of the script.
        folder: Of the run below the runs root; its first part is the experiment's name.
        images: Without labels.
        default_epochs: Where the options name none.
        tile_size: Cut images into square tiles of this side in pixels; None: resize them whole.

    Raises:
        DatasetError: An image does not decode.
        RunError: The run folder cannot be used.
    """
    fabric = launch_fabric(options.device, options.precision, options.seed)
    images = limit_training(images, options.max_train_images)
    config = options.trainer_config(default_epochs, augment="flips-15")
    with open_run(fabric, options, folder, images, config, {"tile_size": tile_size}) as run:
        if not run.is_finished:
            data = {split: _open(images, split, tile_size) for split in SPLITS}
            run.record_seen([*images.of_split("train"), *images.of_split("val")])
            seed_all(options.seed)
            hooks = default_hooks(run.run_dir, "autoencoder", autoencoder_pictures())
            trainer = AutoencoderTrainer(
                fabric, Autoencoder(), data["train"], data["val"], config, hooks
            )
            fit(run, trainer)
            splits = describe_splits({name: part.samples for name, part in data.items()}, ())
            summary = {"experiment": folder.parts[0], "seed": options.seed, "splits": splits}
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
