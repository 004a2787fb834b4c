"""Small real runs to be killed: each goes on in its folder from wherever it stands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.synthetic import SyntheticSizes, write_synthetic_bundle
from datasets.synthetic.slides import draw_slide, write_asap, write_slide
from experiments import (
    ablations,
    base_wbc,
    camelyon16_resnet18,
    fused_wbc,
    prcc_autoencoder,
    tile_slides,
)
from trainers.hooks import ProgressHook

log = logging.getLogger(__name__)

_SIZES = SyntheticSizes(
    cells_by_class=(3, 4, 5, 3, 7),
    val_cells_by_class=(4, 4, 4, 4, 6),
    cell_size=48,
    tiles_by_class=6,
    tile_size=48,
    renal_images=4,
    renal_size=64,
)
_LESION = (128, 128, 256, 256)
_NUM_SLIDES = 6


class TellingHook(ProgressHook):
    """Logs the beginning of each epoch, too: what came before it must be saved by then."""

    def before_epoch(self, trainer):
        log.info("Epoch %d begins.", trainer.epoch + 1)
        super().before_epoch(trainer)


@dataclass(frozen=True)
class Inputs:
    """What all scenarios read; made once."""

    folder: Path

    @property
    def bundle(self) -> Path:
        """A synthetic bundle."""
        return self.folder / "bundle"

    @property
    def slides(self) -> Path:
        """Synthetic slides with annotations."""
        return self.folder / "slides"

    @property
    def encoder_runs(self) -> Path:
        """Runs root of the frozen encoders."""
        return self.folder / "encoders"

    def make(self) -> None:
        """Draw the images, train the encoders."""
        write_synthetic_bundle(self.bundle, _SIZES)
        left, top, right, bottom = _LESION
        ring = [(left, top), (right, top), (right, bottom), (left, bottom)]
        for number in range(_NUM_SLIDES):
            rng = np.random.default_rng(number)
            is_tumor = number % 2 == 0
            name = f"{'tumor' if is_tumor else 'normal'}_{number:03d}"
            pixels = draw_slide(320, 384, rng, _LESION if is_tumor else None)
            write_slide(self.slides / f"{name}.tif", pixels)
            if is_tumor:
                write_asap(self.slides / f"{name}.xml", {"_0": [ring]})
        common = self.common(self.encoder_runs.parent) | {"runs_root": self.encoder_runs}
        prcc_autoencoder.main(prcc_autoencoder.Options(**common, epochs=1, max_train_images=1))
        camelyon16_resnet18.main(
            camelyon16_resnet18.Options(
                **common, epochs=1, backbone="squeezenet1_1", backbone_weights="random"
            )
        )

    def common(self, folder: Path) -> dict[str, Any]:
        """Return the options of every training in `folder`."""
        return {
            "data_root": self.bundle,
            "runs_root": folder / "runs",
            "cache_root": folder / "cache",
            "device": "cpu",
            "precision": "32-true",
            "resume": True,
        }


def _autoencoder(inputs: Inputs, folder: Path) -> None:
    prcc_autoencoder.main(prcc_autoencoder.Options(**inputs.common(folder), epochs=3, batch_size=2))


def _classifier(inputs: Inputs, folder: Path) -> None:
    base_wbc.main(
        base_wbc.Options(**inputs.common(folder), epochs=4, batch_size=4, max_train_images=12)
    )


def _fused(inputs: Inputs, folder: Path) -> None:
    fused_wbc.main(
        fused_wbc.Options(
            **inputs.common(folder),
            prcc_run=inputs.encoder_runs / "prcc_autoencoder" / "seed-0",
            cam16_run=inputs.encoder_runs / "camelyon16_resnet18" / "seed-0",
            epochs=2,
            batch_size=4,
            max_train_images=12,
        )
    )


def _tiling(inputs: Inputs, folder: Path) -> None:
    tile_slides.main(
        tile_slides.Options(
            slides=inputs.slides,
            out=folder / "tiles",
            mpp=0.5,
            tile_size=64,
            min_tissue=0.9,
            workers=2,
        )
    )


def _grid(inputs: Inputs, folder: Path) -> None:
    ablations.main(
        ablations.Options(
            **inputs.common(folder),
            prcc_run=inputs.encoder_runs / "prcc_autoencoder" / "seed-0",
            cam16_run=inputs.encoder_runs / "camelyon16_resnet18" / "seed-0",
            variants=("base", "probe-tissue"),
            splits=(100,),
            seeds=2,
            epochs=1,
            max_train_images=10,
            log_dir=folder / "jobs",
        )
    )


SCENARIOS: dict[str, Callable[[Inputs, Path], None]] = {
    "autoencoder": _autoencoder,
    "classifier": _classifier,
    "fused": _fused,
    "tiling": _tiling,
    "grid": _grid,
}
