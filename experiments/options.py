"""The options that all trainings share; a line under a field is its ``--help``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets.synthetic import ensure_synthetic_bundle, is_synthetic_root
from datasets.transforms import Augment
from trainers.config import TrainerConfig
from trainers.device import Device, Precision


@dataclass(frozen=True)
class RunOptions:
    """Where data, runs and features lie, and how a model is trained."""

    data_root: Path | None = None
    """Folder of the data (README, Data). Without it: the built-in synthetic set."""
    runs_root: Path | None = None
    """Folder of the runs. Default: runs, or runs/synthetic for synthetic images."""
    cache_root: Path = Path("cache")
    """Folder of what can be made again: stored features, synthetic images."""
    seed: int = 0
    """Of weights, order of the samples and augmentation."""
    epochs: int | None = None
    """Default: as the source system (see above)."""
    batch_size: int = 16
    """Images a forward pass and process."""
    accumulate: int = 1
    """Forward passes an update: 4 learns as from batches four times as large."""
    lr: float = 0.01
    """Peak of the OneCycle schedule."""
    clip: Literal["value", "norm", "none"] = "value"
    """How gradients are clipped: by value, by total norm, or not."""
    clip_limit: float = 0.1
    """Largest absolute gradient value, or largest norm."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    precision: Precision = "auto"
    """auto: bf16-mixed where the hardware multiplies in bf16, else 32-true."""
    num_workers: int = 0
    """Processes that decode images beside the training process."""
    keep_on_gpu: bool = True
    """Read training and validation set once where they take a quarter of the GPU's free memory
    each at most; without effect on a CPU."""
    resume: bool = False
    """Go on from the last checkpoint; the result is that of an uninterrupted run."""
    overwrite: bool = False
    """Delete an earlier run in the same folder and start again."""
    max_train_images: int | None = None
    """Train on at most so many images, classes in proportion."""
    skip_unreadable: bool = False
    """Decode every image first; leave out, count and list those that do not decode."""
    check_counts: bool = False
    """Refuse data whose counts differ from the published ones (default: warn)."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: Naming the flag.
        """
        for flag, value in (
            ("--epochs", self.epochs),
            ("--batch-size", self.batch_size),
            ("--accumulate", self.accumulate),
            ("--lr", self.lr),
            ("--clip-limit", self.clip_limit),
            ("--max-train-images", self.max_train_images),
        ):
            if value is not None and not value > 0:
                raise ValueError(f"{flag} must be larger than 0, not {value}.")
        if self.num_workers < 0:
            raise ValueError(f"--num-workers must be 0 or more, not {self.num_workers}.")
        if self.resume and self.overwrite:
            raise ValueError("--resume keeps an earlier run and --overwrite deletes it: pass one.")

    @property
    def is_synthetic(self) -> bool:
        """Whether the data root is the built-in or another synthetic bundle."""
        return self.data_root is None or is_synthetic_root(self.data_root)

    def find_data_root(self) -> Path:
        """Return the data root; that of the synthetic set is drawn if need be."""
        return self.data_root or ensure_synthetic_bundle(self.cache_root)

    def find_runs_root(self) -> Path:
        """Return the folder of the runs; synthetic ones have their own."""
        return self.runs_root or (Path("runs/synthetic") if self.is_synthetic else Path("runs"))

    def trainer_config(self, default_epochs: int, *, augment: Augment = "none") -> TrainerConfig:
        """Return the trainer's configuration."""
        return TrainerConfig(
            epochs=self.epochs or default_epochs,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            max_lr=self.lr,
            clip=self.clip,
            clip_limit=self.clip_limit,
            seed=self.seed,
            augment=augment,
            num_workers=self.num_workers,
            keep_on_gpu=self.keep_on_gpu,
        )
