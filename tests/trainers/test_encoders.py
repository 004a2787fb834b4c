"""Fits of fused models whose encoders are trained along."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.encoder_spec import EncoderSpec
from models.frozen import FrozenEncoder, hash_state
from models.fusion import FusionModel
from trainers.checkpoint import read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig
from trainers.encoders import TrainedEncoder, untrained_encoder
from trainers.errors import InterruptedRunError, RunError
from trainers.hooks import FrozenGuardHook, Hook, default_hooks

CONFIG = TrainerConfig(epochs=2, batch_size=4, trunk_lr=0.001)


class ToyCells:
    """The toy images, large for the cell CNN; small ones, or stored features, for the encoder."""

    def __init__(self, toy_data, encoder: TrainedEncoder) -> None:
        self.toy, self.classes = toy_data, toy_data.classes
        self.is_frozen = encoder.spec.is_frozen
        self.samples, self.labels = toy_data.samples[:8], toy_data.labels[:8]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        item = self.toy[index]
        small = item["image"]
        large = small.repeat_interleave(32, dim=1).repeat_interleave(32, dim=2)
        values = torch.zeros(4) if self.is_frozen else small / 255
        return {**item, "image": large, "features": {"toy": values}}


def toy_encoder() -> TrainedEncoder:
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    encoder = FrozenEncoder("toy", layers, 8, (4,))
    return TrainedEncoder(EncoderSpec("autoencoder"), encoder, "toys", False, None)


def make_trainer(fabric, toy_data, trained, hooks=()) -> ClassifierTrainer:
    torch.manual_seed(0)
    data = ToyCells(toy_data, trained)
    model = FusionModel([trained.encoder], num_classes=2, cnn_channels=8)
    return ClassifierTrainer(fabric, model, data, data, CONFIG, list(hooks))


class StopAfter(Hook):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer):
        trainer.stop.requested = trainer.global_step == self.step


def test_an_unfrozen_encoder_begins_with_the_same_weights_and_says_so():
    frozen = toy_encoder()
    trained = frozen.unfreeze()
    assert trained.describe() == frozen.describe()
    assert (frozen.spec.is_frozen, trained.spec.is_frozen) == (True, False)
    assert trained.unfreeze() is trained


def test_an_encoder_of_a_spec_is_unfrozen_where_the_spec_says_so():
    spec = replace(EncoderSpec("autoencoder"), is_frozen=False)
    trained = untrained_encoder(spec, seed=0).encoder
    assert not isinstance(trained, FrozenEncoder)
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_a_fit_changes_each_tensor_of_an_unfrozen_encoder_at_its_own_rate(fabric, toy_data):
    frozen = toy_encoder()
    before = {name: value.clone() for name, value in frozen.encoder.state_dict().items()}
    rates = []

    class Rates(Hook):
        def after_backward(self, trainer):
            rates.append({g["name"]: g["lr"] for g in trainer.optimizer.param_groups})

    trainer = make_trainer(fabric, toy_data, frozen.unfreeze(), [Rates()])
    trainer.fit()
    after = trainer.model.module.encoders["toy"].state_dict()
    assert after.keys() == before.keys()
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {"mean", "std"}
    assert all(rate["trunk"] == pytest.approx(rate["head"] / 10) for rate in rates)
    assert hash_state(frozen.encoder) == frozen.describe()["sha256"]


@pytest.mark.parametrize("step", [1, 3])
def test_a_resumed_fit_of_an_unfrozen_encoder_equals_an_uninterrupted_one(
    fabric, toy_data, tmp_path, step
):
    def build(folder, *extra):
        (tmp_path / folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        hooks = [*default_hooks(tmp_path / folder, "toy"), *extra]
        return make_trainer(fabric, toy_data, toy_encoder().unfreeze(), hooks)

    whole = build("whole")
    whole.fit()
    with pytest.raises(InterruptedRunError):
        build("stopped", StopAfter(step)).fit()
    path = tmp_path / "stopped/checkpoints/last.ckpt"
    resumed = build("stopped", StopAfter(0))
    resumed.load_state_dict(read_checkpoint(path), path)
    assert resumed.global_step == step
    resumed.fit()
    states = [trainer.model.module.state_dict() for trainer in (whole, resumed)]
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []
    assert hash_state(whole.model.module.encoders["toy"]) != toy_encoder().describe()["sha256"]
    assert resumed.metrics == whole.metrics


@pytest.mark.parametrize("frozen_first", [False, True])
def test_a_checkpoint_does_not_thaw_or_freeze_an_encoder(fabric, toy_data, frozen_first):
    first, second = toy_encoder(), toy_encoder().unfreeze()
    if not frozen_first:
        first, second = second, first
    guard = FrozenGuardHook()
    guard.before_fit(make_trainer(fabric, toy_data, first))
    # The optimizer has a group less or more, which is refused too; here the guard alone is asked.
    resumed = FrozenGuardHook()
    resumed.load_state_dict(guard.state_dict())
    with pytest.raises(RunError, match=r"encoders\.toy changed since the run was interrupted"):
        make_trainer(fabric, toy_data, second, [resumed]).fit()
