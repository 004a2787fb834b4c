"""How well does the cell CNN alone tell white blood cells apart?

The control of the main job: no frozen encoder, 10 epochs.

    python experiments/base_wbc.py --data-root DIR --split {1,10,50,100}

Time: about 60 images a second on two cores with bf16. The source system reports accuracy 0.741,
0.870, 0.931 and 0.926 with 1, 10, 50 and 100 % of the labels.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.cells import CellOptions, train_cells
from experiments.cli import run_script
from experiments.reporting.load_runs import FinishedRun
from experiments.training import announce_data

EXPERIMENT = "base_wbc"
EPOCHS = 10


@dataclass(frozen=True)
class Options(CellOptions):
    """Options of the base classifier."""


def main(options: Options) -> FinishedRun:
    """Train and test the base classifier, or find it finished; return its run."""
    announce_data(options)
    folder = Path(EXPERIMENT, f"split-{options.split}", f"seed-{options.seed}")
    return train_cells(options, options.split, folder, options.make_recipe(EPOCHS))


if __name__ == "__main__":
    run_script(main, Options, __doc__)
