"""How well can renal carcinoma tiles be reconstructed from a small latent map?

Trains the autoencoder whose frozen encoder the fusion uses, with 1 - SSIM on unlabelled pRCC
images, 20 epochs (4 on the synthetic set).

    python experiments/prcc_autoencoder.py --data-root DIR [--tile-size 256]

Time: about 10 images of 512x512 a second on two cores with bf16. The source system reports a loss
of 9.3e-4, which is no reference: its SSIM had the wrong data range.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.sources.prcc import read_prcc
from experiments.autoencoders import train_autoencoder
from experiments.cli import run_script
from experiments.options import RunOptions
from experiments.training import announce_data

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
    images = read_prcc(options.find_data_root(), skip_unreadable=options.skip_unreadable)
    epochs = SYNTHETIC_EPOCHS if images.is_synthetic else EPOCHS
    folder = Path(EXPERIMENT, f"seed-{options.seed}")
    return train_autoencoder(options, folder, images, epochs, options.tile_size)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
