"""Options of the sub-commands; a line under a field is its ``--help``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from trainers.device import Precision

MeasuredDevice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class MeasureOptions:
    """What all sub-commands share."""

    rounds: int = 3
    """Of each way in turn; the median counts."""
    seed: int = 0
    """Of pictures, weights and order."""
    work_dir: Path | None = None
    """Where stores and runs are written and deleted. Default: the system's temporary folder."""
    out: Path | None = None
    """JSON file for everything that was measured."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing.

        Raises:
            ValueError: Naming the flag.
        """
        require_positive({"--rounds": self.rounds})


@dataclass(frozen=True)
class WorkOptions(MeasureOptions):
    """How images are worked on."""

    batch_size: int = 16
    """Images a step; 16 in the source system."""
    threads: int | None = None
    """Of PyTorch. Default: its own choice."""
    cache_root: Path = Path("cache")
    """Folder of the synthetic images, which are drawn once."""
    device: MeasuredDevice = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    precision: Precision = "auto"
    """Of our way; the plain one is in 32 bit."""
    side: int = 575
    """Of an image in pixels; 575 is a cell of Raabin-WBC."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing."""
        super().__post_init__()
        require_positive(
            {"--batch-size": self.batch_size, "--threads": self.threads, "--side": self.side}
        )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: PyTorch finds no GPU here. Pass --device cpu.")

    def find_device(self) -> Literal["cpu", "cuda"]:
        """Return the device that is meant."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


@dataclass(frozen=True)
class ImageOptions(WorkOptions):
    """How many images are worked on, and who loads them."""

    images: int = 48
    """Of a round."""
    num_workers: int = 0
    """Processes that load images beside the measured one, in both ways; predict: the plain one."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing."""
        super().__post_init__()
        require_positive({"--images": self.images})
        if self.num_workers < 0:
            raise ValueError(f"--num-workers must be 0 or more, not {self.num_workers}.")


@dataclass(frozen=True)
class Fused(ImageOptions):
    """An epoch of the fused classifier (512, 224, 256 px); features are stored beforehand."""


@dataclass(frozen=True)
class Base(ImageOptions):
    """An epoch of the cell CNN alone (256 px)."""


@dataclass(frozen=True)
class Autoencoder(ImageOptions):
    """An epoch of the autoencoder (512 px)."""

    images: int = 32
    """Of a round."""
    side: int = 2000
    """Of an image in pixels; 2000 in the source system."""


@dataclass(frozen=True)
class Extract(ImageOptions):
    """The features of both frozen encoders for every image, written to the disk."""


@dataclass(frozen=True)
class Data(ImageOptions):
    """Loading images and features for an epoch, without any network."""

    images: int = 96
    """Of a round."""


@dataclass(frozen=True)
class Predict(ImageOptions):
    """Probabilities of image files by a finished fused run."""


Compared = Fused | Base | Autoencoder | Extract | Data | Predict


def require_positive(values: dict[str, int | None]) -> None:
    """Raise unless all numbers that are given are 1 or more.

    Raises:
        ValueError: Naming the flag.
    """
    for flag, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"{flag} must be 1 or more, not {value}.")
