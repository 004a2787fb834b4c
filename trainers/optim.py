"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from trainers.config import TrainerConfig


def build_optimizer(parameters: Iterable[nn.Parameter], config: TrainerConfig) -> AdamW:
    """Return AdamW over the parameters that require a gradient."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return AdamW(trained, lr=config.max_lr, weight_decay=config.weight_decay)


def build_one_cycle(optimizer: Optimizer, config: TrainerConfig, num_steps: int) -> OneCycleLR:
    """Return OneCycle (Smith and Topin, 2018) over `num_steps` steps, peak `config.max_lr`.

    It starts at a 25th of the peak, reaches it after 30 % of the steps, and falls along a cosine.
    """
    return OneCycleLR(optimizer, max_lr=config.max_lr, total_steps=num_steps)
