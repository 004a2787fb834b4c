"""Do frozen features of other tissue help to tell white blood cells apart when labels are few?

Trains the fused classifier, 14 epochs: a cell CNN from scratch beside the frozen encoders of the
pRCC autoencoder and of the Camelyon16 tumor classifier. Their finished runs are used, and made if
they are missing.

    python experiments/fused_wbc.py --data-root DIR --split {1,10,50,100}
    python experiments/fused_wbc.py --data-root DIR --split {1,10,50,100} --recipe strong

--recipe strong has no cell CNN: pooled features of the autoencoder's latents and of several depths
of the tumor classifier's trunk, in eight views, and a linear layer that also learns from the
unlabelled training cells. Its parts were chosen on validation; ablations.py --study strong shows
what each brings.

Time: about 36 images a second on two cores with bf16; without --data-root under 4 minutes in all.
The source system reports accuracy 0.780, 0.906, 0.950 and 0.948 with 1, 10, 50 and 100 % of the
labels. The control is experiments/base_wbc.py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from datasets.sources import camelyon16, prcc
from experiments import camelyon16_resnet18, prcc_autoencoder
from experiments.cells import CellOptions, train_cells
from experiments.cli import run_script
from experiments.probes import train_strong_probe
from experiments.reporting.load_runs import FinishedRun
from experiments.training import announce_data, options_for
from models.fusion import Combine
from trainers.device import hide_bars
from trainers.encoders import (
    TrainedEncoder,
    depths_from_cam16_run,
    encoder_from_autoencoder_run,
    encoder_from_cam16_run,
    pooled_from_autoencoder_run,
)
from trainers.errors import RunError
from trainers.run import SUMMARY
from trainers.strong_probe import StrongConfig

EXPERIMENT = "fused_wbc"
EPOCHS = 14
ENCODER_SEED = 0
_PAPER = (
    "epochs",
    "batch_size",
    "accumulate",
    "lr",
    "clip",
    "clip_limit",
    "masks",
    "class_weights",
    "balanced_sampling",
    "views",
    "latent_pool",
    "combine",
)
"""What only --recipe paper heeds."""


@dataclass(frozen=True)
class TissueOptions(camelyon16_resnet18.BackboneOptions):
    """Whose encoders are taken; the options of the backbone are for a missing tumor classifier."""

    prcc_run: Path | None = None
    """Finished autoencoder run. Default: prcc_autoencoder/seed-0 below the runs root."""
    cam16_run: Path | None = None
    """Finished tumor classifier run. Default: camelyon16_resnet18/seed-0 below the runs root."""


@dataclass(frozen=True)
class Options(CellOptions, TissueOptions):
    """Options of the fused classifier."""

    combine: Combine = "sum"
    """How the votes of CNN and encoders are combined."""
    latent_pool: Literal[1, 2, 4] = 1
    """Average the autoencoder's latents over squares of this side; 4: a sixteenth of the store."""
    recipe: Literal["paper", "strong"] = "paper"
    """paper: the source system's. strong: what is best with few labels (see above)."""

    def __post_init__(self) -> None:
        """Refuse options that the recipe would not heed.

        Raises:
            ValueError: Naming the flags.
        """
        super().__post_init__()
        if self.recipe == "strong":
            defaults = Options()
            idle = [name for name in _PAPER if getattr(self, name) != getattr(defaults, name)]
            if idle:
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
                raise ValueError(f"{flags}: without effect on --recipe strong. Leave it out.")


def main(options: Options) -> FinishedRun:
    """Train what is missing, then train and test the fused classifier; return its run."""
    announce_data(options)
    if options.recipe == "strong":
        folder = Path(EXPERIMENT, "strong", f"split-{options.split}", f"seed-{options.seed}")
        config = StrongConfig(seed=options.seed)
        encoders = find_pooled_encoders(options)
        return train_strong_probe(options, options.split, folder, encoders, config)
    with tqdm(total=3, desc="runs", unit="run", leave=False, disable=hide_bars()) as runs:
        # The quick one first: a wrong --backbone is told at once.
        cam16_encoder = encoder_from_cam16_run(find_cam16_run(options))
        runs.update()
        prcc_encoder = encoder_from_autoencoder_run(
            find_prcc_run(options), prcc_autoencoder.EXPERIMENT, options.latent_pool
        )
        runs.update()
        encoders = [prcc_encoder, cam16_encoder]
        folder = Path(EXPERIMENT, f"split-{options.split}", f"seed-{options.seed}")
        recipe = options.make_recipe(EPOCHS, options.combine)
        return train_cells(options, options.split, folder, recipe, encoders)


def find_pooled_encoders(options: TissueOptions) -> list[TrainedEncoder]:
    """Return the encoders of the strong recipe; runs that are missing are trained first.

    Raises:
        RunError: A run is missing, and so are the images to train one.
    """
    depths = depths_from_cam16_run(find_cam16_run(options))
    prcc_run = find_prcc_run(options)
    return [depths, pooled_from_autoencoder_run(prcc_run, prcc_autoencoder.EXPERIMENT)]


def find_prcc_run(options: TissueOptions) -> Path:
    """Return the finished autoencoder run, which is trained if it is missing.

    Raises:
        RunError: It is missing, and so are the images to train one.
    """
    run_dir = locate_prcc_run(options)
    if options.prcc_run is not None or (run_dir / SUMMARY).is_file():
        return run_dir
    _require_data(options, run_dir, prcc.FOLDER, "experiments/prcc_autoencoder.py", "--prcc-run")
    return prcc_autoencoder.main(options_for(prcc_autoencoder.Options, options, ENCODER_SEED))


def find_cam16_run(options: TissueOptions) -> Path:
    """Return the finished tumor classifier run, which is trained if it is missing.

    Raises:
        RunError: It is missing, and so are the tiles to train one.
    """
    run_dir = locate_cam16_run(options)
    if options.cam16_run is not None or (run_dir / SUMMARY).is_file():
        return run_dir
    script = "experiments/camelyon16_resnet18.py"
    _require_data(options, run_dir, camelyon16.FOLDER, script, "--cam16-run")
    tumor_options = options_for(camelyon16_resnet18.Options, options, ENCODER_SEED)
    return camelyon16_resnet18.main(
        replace(
            tumor_options,
            backbone=options.backbone,
            backbone_weights=options.backbone_weights,
        )
    )


def locate_prcc_run(options: TissueOptions) -> Path:
    """Return where the autoencoder run is, or would be."""
    root = options.find_runs_root()
    return options.prcc_run or root / prcc_autoencoder.EXPERIMENT / f"seed-{ENCODER_SEED}"


def locate_cam16_run(options: TissueOptions) -> Path:
    """Return where the tumor classifier run is, or would be."""
    root = options.find_runs_root()
    return options.cam16_run or root / camelyon16_resnet18.EXPERIMENT / f"seed-{ENCODER_SEED}"


def _require_data(
    options: TissueOptions, run_dir: Path, folder: str, script: str, flag: str
) -> None:
    if options.data_root is not None and not (options.data_root / folder).is_dir():
        raise RunError(
            f"There is neither a finished run in {run_dir} nor {folder} under "
            f"{options.data_root} to train one. Run {script} --data-root DIR first, or pass "
            f"{flag} RUN."
        )


if __name__ == "__main__":
    run_script(main, Options, __doc__)
