"""Stages of a fit: what is frozen when, which rate where, and what is kept of each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.backbone_classifier import BackboneClassifier, split_parameters
from models.backbones import Backbone
from trainers.checkpoint import read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.config import Stage, TrainerConfig
from trainers.errors import InterruptedRunError
from trainers.hooks import Hook, UnfreezingHook, default_hooks
from trainers.optim import build_optimizer, build_schedule

STAGES = (
    Stage(epochs=2, lr=0.01),
    Stage(epochs=1, lr=0.002, trunk_lr=0.001, train_batch_norm=False),
    Stage(epochs=1, lr=0.002, trunk_lr=0.001),
)


def make_model() -> BackboneClassifier:
    torch.manual_seed(0)
    trunk = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return BackboneClassifier(Backbone("toy", trunk, 4, (8, 8)), nn.Linear(4, 2))


def make_trainer(fabric, data, hooks, stages=STAGES) -> ClassifierTrainer:
    config = TrainerConfig(epochs=sum(s.epochs for s in stages), batch_size=4, stages=stages)
    return ClassifierTrainer(fabric, make_model(), data, data, config, hooks)


class Snapshots(Hook):
    """Keeps the weights after every epoch, and the rates of every step."""

    def before_fit(self, trainer):
        self.states = [self._copy(trainer)]
        self.rates = []

    def after_backward(self, trainer):
        self.rates.append({g["name"]: g["lr"] for g in trainer.optimizer.param_groups})

    def after_epoch(self, trainer):
        self.states.append(self._copy(trainer))

    def moved(self, epoch: int) -> set[str]:
        """Return the names that the epoch, counted from 1, changed."""
        before, after = self.states[epoch - 1], self.states[epoch]
        return {name for name in after if not torch.equal(before[name], after[name])}

    @staticmethod
    def _copy(trainer):
        return {k: v.clone() for k, v in trainer.model.module.state_dict().items()}


HEAD = {"head.weight", "head.bias"}
CONVOLUTION = {"trunk.0.weight"}
BATCH_NORM = {f"trunk.1.{n}" for n in ("weight", "bias", "running_mean", "running_var")}


def test_each_stage_moves_the_layers_that_it_says_and_no_others(fabric, toy_data):
    snapshots = Snapshots()
    make_trainer(fabric, toy_data, [UnfreezingHook(), snapshots]).fit()
    bias = {"trunk.0.bias"}
    for epoch in (1, 2):
        assert snapshots.moved(epoch) == HEAD
    assert snapshots.moved(3) - bias == HEAD | CONVOLUTION
    assert snapshots.moved(4) - bias == HEAD | CONVOLUTION | BATCH_NORM | {
        "trunk.1.num_batches_tracked"
    }


def test_each_stage_has_its_rates(fabric, toy_data):
    snapshots = Snapshots()
    make_trainer(fabric, toy_data, [UnfreezingHook(), snapshots]).fit()
    steps = 4
    assert [rates["head"] for rates in snapshots.rates] == [0.01] * 2 * steps + [0.002] * 2 * steps
    assert [rates["trunk"] for rates in snapshots.rates[2 * steps :]] == [0.001] * 2 * steps


class StopAt(Hook):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer):
        if trainer.global_step == self.step:
            raise InterruptedRunError("stopped")


@pytest.mark.parametrize("step", [6, 8, 10, 13])
def test_a_fit_resumed_in_any_stage_equals_an_uninterrupted_one(fabric, toy_data, tmp_path, step):
    whole = make_trainer(fabric, toy_data, [UnfreezingHook(), *default_hooks(tmp_path / "a", "")])
    (tmp_path / "a/checkpoints").mkdir(parents=True)
    (tmp_path / "b/checkpoints").mkdir(parents=True)
    whole.fit()
    hooks = [UnfreezingHook(), *default_hooks(tmp_path / "b", "")]
    stopped = make_trainer(fabric, toy_data, [*hooks, StopAt(step)])
    with pytest.raises(InterruptedRunError):
        stopped.fit()
    resumed = make_trainer(fabric, toy_data, [UnfreezingHook(), *default_hooks(tmp_path / "b", "")])
    path = tmp_path / "b/checkpoints/last.ckpt"
    resumed.load_state_dict(read_checkpoint(path), path)
    resumed.fit()
    expected = whole.model.module.state_dict()
    for name, value in resumed.model.module.state_dict().items():
        assert torch.equal(value, expected[name]), name
    for name in ("best", "stage-1", "stage-2"):
        first, second = (
            read_checkpoint(tmp_path / run / f"checkpoints/{name}.ckpt") for run in "ab"
        )
        assert first["epoch"] == second["epoch"]
        assert first["val_loss"] == second["val_loss"]


def test_the_best_model_of_each_stage_is_kept(fabric, toy_data, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    make_trainer(fabric, toy_data, [UnfreezingHook(), *default_hooks(tmp_path, "")]).fit()
    epochs = [
        read_checkpoint(tmp_path / f"checkpoints/{name}.ckpt")["epoch"]
        for name in ("stage-1", "stage-2", "best")
    ]
    assert epochs[0] in (1, 2)
    assert epochs[1:] == [3, 4]
    assert not (tmp_path / "checkpoints/stage-3.ckpt").exists()


def test_stages_that_leave_epochs_without_a_rate_are_refused():
    with pytest.raises(ValueError, match=r"stages have \[2, 1, 1\] epochs.*add up to 5"):
        TrainerConfig(epochs=5, stages=STAGES)


def test_stages_need_a_trunk(fabric, toy_model, toy_data):
    config = TrainerConfig(epochs=4, stages=STAGES)
    trainer = ClassifierTrainer(fabric, toy_model, toy_data, toy_data, config, [UnfreezingHook()])
    with pytest.raises(TypeError, match="Stages need a BackboneClassifier, not a ToyModel"):
        trainer.fit()


def test_trunk_and_head_learn_at_rates_of_their_own_under_one_cycle():
    config = TrainerConfig(epochs=10, max_lr=0.01, trunk_lr=0.001)
    optimizer = build_optimizer(split_parameters(make_model()), config)
    schedule = build_schedule(optimizer, config, steps_per_epoch=10)
    peaks = {"trunk": 0.0, "head": 0.0}
    for _ in range(100):
        for group in optimizer.param_groups:
            peaks[group["name"]] = max(peaks[group["name"]], group["lr"])
        optimizer.step()
        schedule.step()
    assert peaks == {"trunk": pytest.approx(0.001), "head": pytest.approx(0.01)}


def test_a_constant_rate_stays():
    config = TrainerConfig(epochs=2, max_lr=1e-5, schedule="constant", optimizer="adam")
    optimizer = build_optimizer({"head": [nn.Parameter(torch.zeros(1))]}, config)
    schedule = build_schedule(optimizer, config, steps_per_epoch=3)
    for _ in range(6):
        assert optimizer.param_groups[0]["lr"] == 1e-5
        optimizer.step()
        schedule.step()
    assert type(optimizer) is torch.optim.Adam


def test_weight_decay_of_adam_is_in_the_gradient_and_of_adamw_is_not():
    moved = {}
    for name in ("adam", "adamw"):
        weight = nn.Parameter(torch.ones(1))
        config = TrainerConfig(epochs=1, max_lr=0.1, optimizer=name, weight_decay=0.5)
        optimizer = build_optimizer({"head": [weight]}, replace(config, schedule="constant"))
        weight.grad = torch.zeros(1)
        optimizer.step()
        moved[name] = 1 - weight.item()
    # Adam scales the penalty's gradient to one rate; AdamW takes rate x decay of the weight.
    assert moved == {"adam": pytest.approx(0.1), "adamw": pytest.approx(0.05)}
