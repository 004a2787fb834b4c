"""What a training needs to know; each field is documented where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from datasets.transforms import Augment
from datasets.views import NumViews


@dataclass(frozen=True)
class Stage:
    """A part of a fit of a `BackboneClassifier`, with constant rates and parts that are frozen."""

    epochs: int
    """Passes over the training set."""
    lr: float
    """Rate of the head."""
    trunk_lr: float | None = None
    """Rate of the trunk; None: it is frozen, its batch-norm statistics too."""
    train_batch_norm: bool = True
    """Let the trunk's batch normalization learn: parameters and statistics."""


@dataclass(frozen=True)
class TrainerConfig:
    """Hyper-parameters of one fit. The defaults are those of the source system.

    Raises:
        ValueError: The epochs of the stages do not add up to `epochs`.
    """

    epochs: int
    """Passes over the training set."""
    batch_size: int = 16
    """Samples a forward pass and process."""
    accumulate: int = 1
    """Forward passes whose gradients make one update, that of so much larger a batch."""
    max_lr: float = 0.01
    """Peak of the OneCycle schedule, or the constant rate."""
    trunk_lr: float | None = None
    """The same for a `BackboneClassifier`'s trunk or a `FusionModel`'s encoders; None: as the
    rest."""
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    """How the rate changes from step to step."""
    stages: tuple[Stage, ...] = ()
    """Parts of the fit with rates of their own, in place of the three fields above."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """adamw: decoupled weight decay (Loshchilov and Hutter, 2019). adam: it is an L2 penalty."""
    weight_decay: float = 1e-4
    """Of the optimizer."""
    clip: Literal["value", "norm", "none"] = "value"
    """How gradients are clipped before the step."""
    clip_limit: float = 0.1
    """Largest absolute value of a gradient, or largest total norm."""
    seed: int = 0
    """Of the weights, the order of the samples and the augmentation."""
    augment: Augment = "none"
    """flips-15: plain, flipped, rotated by up to 15 degrees, or both. flips-360: by any angle."""
    views: NumViews = 1
    """8: each training sample is shown in one of its eight views, drawn anew each epoch."""
    class_weights: bool = False
    """Weigh the loss of a class by total / (classes x its count)."""
    balanced_sampling: bool = False
    """Draw each class equally often, with replacement."""
    images_per_class: int | None = None
    """Show so many images of each class an epoch: each of a rare class several times."""
    num_workers: int = 0
    """Processes that decode images beside the training process."""
    keep_on_gpu: bool = True
    """Read training and validation set once where they take little of the GPU's free memory."""

    def __post_init__(self) -> None:
        """Refuse stages that leave epochs without rates."""
        if self.stages and sum(stage.epochs for stage in self.stages) != self.epochs:
            raise ValueError(
                f"The stages have {[stage.epochs for stage in self.stages]} epochs, which do not "
                f"add up to {self.epochs}."
            )

    def stage_at(self, epoch: int) -> int:
        """Return the index of the stage that `epoch`, counted from 0, belongs to."""
        ends = accumulate(stage.epochs for stage in self.stages[:-1])
        return sum(epoch >= end for end in ends)

    def ends_stage(self, epoch: int) -> bool:
        """Return whether another stage begins after `epoch` epochs."""
        return self.stage_at(epoch) > self.stage_at(epoch - 1)
