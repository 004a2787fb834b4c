"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from trainers.config import TrainerConfig

_OPTIMIZERS: Mapping[str, type[Adam]] = {"adamw": AdamW, "adam": Adam}


def build_optimizer(
    parameters: Mapping[str, Sequence[nn.Parameter]], config: TrainerConfig
) -> Optimizer:
    """Return the optimizer over the parameters that require a gradient.

    Args:
        parameters: By part, ``trunk`` or ``head``; each part is a group of the optimizer with the
            part's ``name``.
        config: Its rates are those of the schedule, which sets them before the first step.
    """
    groups = []
    for name, values in parameters.items():
        trained = [parameter for parameter in values if parameter.requires_grad]
        if trained:
            groups.append({"params": trained, "name": name, "lr": _peak(name, config)})
    return _OPTIMIZERS[config.optimizer](groups, lr=config.max_lr, weight_decay=config.weight_decay)


def build_schedule(
    optimizer: Optimizer, config: TrainerConfig, steps_per_epoch: int
) -> LRScheduler:
    """Return what sets the rates after each step.

    With stages, their constant rates. Else OneCycle (Smith and Topin, 2018), which starts at a 25th
    of the peak, reaches it after 30 % of the steps and falls along a cosine; or a constant rate.
    """
    names = [group["name"] for group in optimizer.param_groups]
    if config.stages:
        return LambdaLR(optimizer, [_stage_rates(name, config, steps_per_epoch) for name in names])
    if config.schedule == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    num_steps = max(2, config.epochs * steps_per_epoch)
    peaks = [_peak(name, config) for name in names]
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=num_steps)


def _peak(name: str, config: TrainerConfig) -> float:
    if config.stages:
        return 1.0  # The schedule multiplies it with the stage's rate.
    return config.trunk_lr if name == "trunk" and config.trunk_lr else config.max_lr


def _stage_rates(name: str, config: TrainerConfig, steps_per_epoch: int) -> Callable[[int], float]:
    def rate(step: int) -> float:
        stage = config.stages[config.stage_at(step // steps_per_epoch)]
        return stage.lr if name == "head" else stage.trunk_lr or 0.0

    return rate
