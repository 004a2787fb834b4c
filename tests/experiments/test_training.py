"""What the training scripts share."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from experiments.training import fit
from trainers.classifier import ClassifierTrainer
from trainers.errors import InterruptedRunError, NonFiniteError
from trainers.hooks import Hook, default_hooks
from trainers.run import Run


class After(Hook):
    """Does something after one step."""

    def __init__(self, step: int, act) -> None:
        self.step = step
        self.act = act

    def after_step(self, trainer):
        if trainer.global_step == self.step:
            self.act(trainer)


def request_stop(trainer) -> None:
    trainer.stop.requested = True


def break_weights(trainer) -> None:
    with torch.no_grad():
        trainer.model.module.layers[-1].bias.fill_(float("nan"))


def test_a_resumed_fit_that_breaks_names_the_checkpoint_that_it_began_with(
    fabric, toy_model, toy_data, toy_config, tmp_path: Path
):
    def fit_with(hook: Hook) -> None:
        hooks = [*default_hooks(tmp_path, "toy"), hook]
        model = copy.deepcopy(toy_model)
        trainer = ClassifierTrainer(fabric, model, toy_data, toy_data, toy_config, hooks)
        with Run(fabric, tmp_path, {}, {}, resume=True, overwrite=False) as run:
            fit(run, trainer)

    with pytest.raises(InterruptedRunError):
        fit_with(After(5, request_stop))
    with pytest.raises(NonFiniteError, match=r"of step 7 .*last good checkpoint is \S+last\.ckpt"):
        fit_with(After(6, break_weights))
