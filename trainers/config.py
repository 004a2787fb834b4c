"""What a training needs to know; each field is documented where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainerConfig:
    """Hyper-parameters of one fit. The defaults are those of the source system."""

    epochs: int
    """Passes over the training set."""
    batch_size: int = 16
    """Samples a step and process."""
    max_lr: float = 0.01
    """Peak of the OneCycle schedule."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW."""
    clip: Literal["value", "norm", "none"] = "value"
    """How gradients are clipped before the step."""
    clip_limit: float = 0.1
    """Largest absolute value of a gradient, or largest total norm."""
    seed: int = 0
    """Of the weights, the order of the samples and the augmentation."""
    augment: bool = False
    """Show images plain, flipped, rotated by up to 15 degrees, or both."""
    class_weights: bool = False
    """Weigh the loss of a class by total / (classes x its count)."""
    balanced_sampling: bool = False
    """Draw each class equally often, with replacement."""
    num_workers: int = 0
    """Processes that decode images beside the training process."""
