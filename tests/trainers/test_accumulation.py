"""Updates from several forward passes equal those from one large batch."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from experiments.options import RunOptions
from trainers.checkpoint import read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.data import split_batch
from trainers.errors import InterruptedRunError
from trainers.hooks import CheckpointHook, Hook


class Plain(nn.Module):
    """Without batch norm, whose statistics are those of a forward pass; with a penalty."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

    @property
    def penalty(self) -> torch.Tensor:
        return 0.01 * self.layers[-1].weight.square().sum()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


@pytest.fixture
def plain_model() -> Plain:
    torch.manual_seed(0)
    return Plain()


def make_trainer(fabric, model, data, config, hooks=()):
    return ClassifierTrainer(fabric, copy.deepcopy(model), data, data, config, list(hooks))


@pytest.mark.parametrize("class_weights", [False, True])
def test_accumulated_updates_equal_those_of_the_large_batch(
    fabric, plain_model, toy_data, toy_config, class_weights
):
    # Updates of 12 and 4 images; the parts of the second, 3 and 1, do not count alike.
    toy_data.labels[:3] = [0, 0, 0]
    config = replace(toy_config, class_weights=class_weights)
    large = make_trainer(fabric, plain_model, toy_data, replace(config, batch_size=12))
    config = replace(config, batch_size=3, accumulate=4)
    parts = make_trainer(fabric, plain_model, toy_data, config)
    for trainer in (large, parts):
        trainer.fit()
    assert parts.global_step == large.global_step == parts.scheduler.last_epoch == 6
    for name, value in large.model.module.state_dict().items():
        torch.testing.assert_close(
            parts.model.module.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name
        )
    assert parts.metrics == pytest.approx(large.metrics, rel=1e-4)
    assert parts.loss == pytest.approx(large.loss, rel=1e-4)
    assert parts.gradient_norm == pytest.approx(large.gradient_norm, rel=1e-3)


def test_schedule_and_hooks_count_updates(fabric, plain_model, toy_data, toy_config):
    class Counts(Hook):
        passes = 0

        def after_backward(self, trainer):
            self.passes += 1

    hook = Counts()
    config = replace(toy_config, batch_size=2, accumulate=3)
    trainer = make_trainer(fabric, plain_model, toy_data, config, [hook])
    trainer.fit()
    # 16 images in updates of 6, 6 and 4, three epochs.
    assert hook.passes == trainer.global_step == trainer.scheduler.total_steps == 9
    assert trainer.images_trained == 48


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_stopped_and_resumed_accumulation_equals_an_uninterrupted_one(
    fabric, toy_model, toy_data, toy_config, tmp_path, stop_after
):
    config = replace(toy_config, batch_size=2, accumulate=3)

    class Stops(Hook):
        def after_step(self, trainer):
            trainer.stop.requested = trainer.global_step == stop_after

    (tmp_path / "checkpoints").mkdir()
    whole = make_trainer(fabric, toy_model, toy_data, config)
    whole.fit()
    stopped = make_trainer(fabric, toy_model, toy_data, config, [CheckpointHook(tmp_path), Stops()])
    with pytest.raises(InterruptedRunError):
        stopped.fit()
    resumed = make_trainer(fabric, toy_model, toy_data, config, [CheckpointHook(tmp_path)])
    path = tmp_path / "checkpoints" / "last.ckpt"
    resumed.load_state_dict(read_checkpoint(path), path)
    resumed.fit()
    for name, value in whole.model.module.state_dict().items():
        assert torch.equal(resumed.model.module.state_dict()[name], value), name
    assert resumed.metrics == whole.metrics


def test_batch_is_cut_in_order_with_everything_in_it():
    batch = {
        "image": torch.arange(10).view(5, 2),
        "index": torch.arange(5),
        "features": {"prcc": torch.arange(5) * 2},
    }
    parts = split_batch(batch, 2)
    assert [part["index"].tolist() for part in parts] == [[0, 1], [2, 3, 4]]
    assert parts[1]["image"].tolist() == [[4, 5], [6, 7], [8, 9]], "one left over joins"
    assert parts[1]["features"]["prcc"].tolist() == [4, 6, 8]
    assert [len(part["index"]) for part in split_batch(batch, 1)] == [1] * 5
    assert [len(part["index"]) for part in split_batch(batch, 3)] == [3, 2]


def test_option_reaches_the_trainer_and_is_checked():
    assert RunOptions(accumulate=4).trainer_config(1).accumulate == 4
    with pytest.raises(ValueError, match="--accumulate must be larger than 0, not 0"):
        RunOptions(accumulate=0)
