"""Is it the other tissue that helps, or would unlabelled cells do as well?

Trains the autoencoder of experiments/prcc_autoencoder.py on the training cells, without their
labels: the in-domain control of the fused classifier. Test images are not seen.

    python experiments/cells_autoencoder.py --data-root DIR

Time: about 11 images of 512x512 a second on two cores with bf16.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.autoencoders import train_autoencoder
from experiments.cells import read_cells
from experiments.cli import run_script
from experiments.options import RunOptions
from experiments.training import announce_data

EXPERIMENT = "cells_autoencoder"
EPOCHS, SYNTHETIC_EPOCHS = 20, 2


@dataclass(frozen=True)
class Options(RunOptions):
    """Options of the in-domain autoencoder."""


def main(options: Options) -> Path:
    """Train the autoencoder, or find it finished; return its run folder."""
    announce_data(options)
    cells = read_cells(options, 100, masks=False).without_labels()
    epochs = SYNTHETIC_EPOCHS if cells.is_synthetic else EPOCHS
    return train_autoencoder(options, Path(EXPERIMENT, f"seed-{options.seed}"), cells, epochs)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
