"""The loop: order of events, order of the update, schedule, frozen parts, exact resume."""

from __future__ import annotations

import copy
import multiprocessing
import os
import random
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.tensorboard import SummaryWriter

from models.frozen import FrozenEncoder, hash_state
from trainers import resident
from trainers.checkpoint import load_rng_state, read_checkpoint, rng_state, save_checkpoint
from trainers.classifier import ClassifierTrainer, inverse_frequency_weights
from trainers.config import TrainerConfig
from trainers.errors import CheckpointError, InterruptedRunError, NonFiniteError, RunError
from trainers.hooks import EVENTS, FrozenGuardHook, Hook, default_hooks
from trainers.hooks.tensorboard import log_pictures
from trainers.optim import build_optimizer, build_schedule
from trainers.outputs import gather_objects
from trainers.resident import ResidentBatches


class Recorder(Hook):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def before_fit(self, trainer):
        self.log.append(f"{self.name} before_fit")

    def before_epoch(self, trainer):
        self.log.append(f"{self.name} before_epoch {trainer.epoch}")

    def after_backward(self, trainer):
        self.log.append(f"{self.name} after_backward")

    def after_step(self, trainer):
        self.log.append(f"{self.name} after_step {trainer.global_step}")

    def after_validation(self, trainer):
        self.log.append(f"{self.name} after_validation")

    def after_epoch(self, trainer):
        self.log.append(f"{self.name} after_epoch {trainer.epoch}")

    def on_exception(self, trainer, error):
        self.log.append(f"{self.name} on_exception {type(error).__name__}")

    def after_fit(self, trainer):
        self.log.append(f"{self.name} after_fit")


def make_trainer(fabric, model, data, config, hooks=()):
    return ClassifierTrainer(fabric, model, data, data, config, list(hooks))


def test_hooks_are_called_in_the_golden_order(fabric, toy_model, toy_data, toy_config):
    log: list[str] = []
    config = replace(toy_config, epochs=1, batch_size=8)
    hooks = [Recorder("a", log), Recorder("b", log)]
    make_trainer(fabric, toy_model, toy_data, config, hooks).fit()
    assert log == [
        "a before_fit", "b before_fit",
        "a before_epoch 0", "b before_epoch 0",
        "a after_backward", "b after_backward", "a after_step 1", "b after_step 1",
        "a after_backward", "b after_backward", "a after_step 2", "b after_step 2",
        "a after_validation", "b after_validation",
        "a after_epoch 1", "b after_epoch 1",
        "a after_fit", "b after_fit",
    ]  # fmt: skip


def test_exception_is_told_to_hooks_and_after_fit_still_runs(
    fabric, toy_model, toy_data, toy_config
):
    log: list[str] = []

    class Breaks(Hook):
        def after_step(self, trainer):
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        make_trainer(fabric, toy_model, toy_data, toy_config, [Recorder("a", log), Breaks()]).fit()
    assert log[-2:] == ["a on_exception KeyError", "a after_fit"]


class Ends(Hook):
    """Fails after the fit."""

    def after_fit(self, trainer):
        raise OSError("cannot close")


def test_what_hooks_raise_after_a_failed_fit_is_told_and_does_not_hide_why_it_failed(
    fabric, toy_model, toy_data, toy_config, caplog
):
    log: list[str] = []

    class Breaks(Hook):
        def after_step(self, trainer):
            raise KeyError("broken")

    hooks = [Ends(), Recorder("a", log), Breaks()]
    with pytest.raises(KeyError, match="broken"):
        make_trainer(fabric, toy_model, toy_data, toy_config, hooks).fit()
    assert log[-1] == "a after_fit"
    assert caplog.messages == ["Also failed at the end of the fit: cannot close"]


def test_a_hook_that_cannot_end_does_not_keep_the_frozen_guard_from_its_check(
    fabric, toy_model, toy_data, toy_config, caplog
):
    class Moved(FrozenGuardHook):
        def after_fit(self, trainer):
            raise RunError("encoder changed")

    trainer = make_trainer(fabric, toy_model, toy_data, toy_config, [Ends(), Moved()])
    with pytest.raises(OSError, match="cannot close"):
        trainer.fit()
    assert caplog.messages == ["Also failed at the end of the fit: encoder changed"]


@pytest.mark.parametrize("name", ["after_epcoh", "on_epoch", "before_training", "afterstep"])
def test_misspelt_event_is_refused_when_the_class_is_made(name: str):
    with pytest.raises(TypeError, match=f"{name} is no event; events are before_fit"):
        type("Misspelt", (Hook,), {name: lambda self, trainer: None})


def test_every_event_may_be_overridden():
    type("Complete", (Hook,), {name: lambda self, *_: None for name in EVENTS})


def test_default_hooks_stand_in_the_documented_order(tmp_path):
    names = [type(hook).__name__ for hook in default_hooks(tmp_path, "toy")]
    assert names == [
        "ProgressHook", "MetricsCsvHook", "TensorBoardHook", "CheckpointHook", "FrozenGuardHook",
    ]  # fmt: skip


def test_one_cycle_starts_low_peaks_at_max_lr_and_ends_near_zero():
    config = TrainerConfig(epochs=10, max_lr=0.01)
    optimizer = build_optimizer({"head": [nn.Parameter(torch.zeros(1))]}, config)
    scheduler = build_schedule(optimizer, config, steps_per_epoch=10)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.01 / 25)
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 29
    assert rates[-1] == pytest.approx(0.01 / 25 / 1e4)


def test_scheduler_has_taken_all_its_steps_at_the_end(fabric, toy_model, toy_data, toy_config):
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config)
    trainer.fit()
    assert isinstance(trainer.scheduler, OneCycleLR)
    assert (
        trainer.scheduler.last_epoch == trainer.scheduler.total_steps == trainer.global_step == 12
    )


class GradientsAtStep(Hook):
    """Keeps the gradients before clipping, and those that the optimizer is given."""

    def before_fit(self, trainer):
        optimizer = trainer.optimizer.optimizer
        step = optimizer.step

        def record(*args, **kwargs):
            self.at_step = self._gradients(trainer)
            return step(*args, **kwargs)

        optimizer.step = record

    def after_backward(self, trainer):
        self.before = self._gradients(trainer)

    @staticmethod
    def _gradients(trainer):
        return torch.cat([p.grad.flatten().clone() for p in trainer.model.parameters()])


@pytest.mark.parametrize("clip", ["value", "norm", "none"])
def test_gradients_are_clipped_before_the_step(fabric, toy_model, toy_data, toy_config, clip):
    hook = GradientsAtStep()
    config = replace(toy_config, epochs=1, batch_size=16, clip=clip, clip_limit=1e-3)
    make_trainer(fabric, toy_model, toy_data, config, [hook]).fit()
    assert hook.before.abs().max() > 1e-3
    expected = {
        "value": hook.before.clamp(-1e-3, 1e-3),
        "norm": hook.before * (1e-3 / hook.before.norm()),
        "none": hook.before,
    }[clip]
    assert torch.allclose(hook.at_step, expected, rtol=1e-3)


def test_non_finite_loss_stops_before_the_update_and_names_step_and_images(
    fabric, toy_model, toy_data, toy_config
):
    class Poison(Hook):
        def after_step(self, trainer):
            if trainer.global_step == 2:
                with torch.no_grad():
                    trainer.model.module.layers[-1].bias.fill_(float("nan"))
                self.weights = trainer.model.module.layers[0].weight.clone()

    hook = Poison()
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config, [hook])
    with pytest.raises(NonFiniteError, match=r"loss of step 3 \(epoch 1\).*toy/\d+, toy/"):
        trainer.fit()
    assert torch.equal(trainer.model.module.layers[0].weight, hook.weights)
    assert trainer.global_step == 2


class WithFrozenPart(nn.Module):
    def __init__(self, frozen: nn.Module, toy_model: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self.toy = toy_model

    def forward(self, images):
        return self.toy(self.frozen(images))


def test_frozen_encoder_is_bit_identical_after_a_fit(fabric, toy_model, toy_data, toy_config):
    part = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    encoder = FrozenEncoder("toy", part, 8, (3, 8, 8))
    before, trained = hash_state(encoder), hash_state(toy_model)
    model = WithFrozenPart(encoder, toy_model)
    make_trainer(fabric, model, toy_data, toy_config, [FrozenGuardHook()]).fit()
    assert hash_state(encoder) == before
    assert hash_state(toy_model) != trained


def test_guard_fails_a_run_in_which_a_frozen_encoder_moved(fabric, toy_model, toy_data, toy_config):
    class Moves(Hook):
        def after_epoch(self, trainer):
            trainer.model.module.frozen.module.running_mean += 1e-6

    encoder = FrozenEncoder("toy", nn.BatchNorm2d(3), 8, (3, 8, 8))
    model = WithFrozenPart(encoder, toy_model)
    hooks = [Moves(), FrozenGuardHook()]
    with pytest.raises(RunError, match=r"Frozen encoder\(s\) frozen changed during the fit"):
        make_trainer(fabric, model, toy_data, toy_config, hooks).fit()


def final_state(trainer) -> dict:
    return {**trainer.model.module.state_dict(), **trainer.metrics}


def assert_same(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name]
        assert same, name


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [({}, False), ({}, True), ({"balanced_sampling": True}, False),
     ({"views": 8}, False), ({"views": 8}, True), ({"views": 8, "num_workers": 2}, False)],
)  # fmt: skip
@pytest.mark.parametrize("stop_after", [1, 4, 6, 9])
def test_stopped_and_resumed_fit_equals_an_uninterrupted_one(
    fabric, toy_model, toy_data, toy_config, tmp_path, monkeypatch, stop_after, changes, is_kept
):
    """With dropout, which draws from a stream of its own; also where data are kept on a device."""
    config = replace(toy_config, **changes)
    toy_model.layers.insert(4, nn.Dropout(0.5))
    monkeypatch.setattr(resident, "free_bytes", lambda _: 10**9 * is_kept)

    class Stops(Hook):
        def after_step(self, trainer):
            if trainer.global_step == stop_after:
                trainer.stop.requested = True

    def build(folder, *extra, seed=0):
        (tmp_path / folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        hooks = [*default_hooks(tmp_path / folder, "toy"), *extra]
        torch.manual_seed(seed)
        return make_trainer(fabric, copy.deepcopy(toy_model), toy_data, config, hooks)

    whole = build("whole")
    assert isinstance(whole.train_loader, ResidentBatches) == (is_kept and config.views == 1)
    whole.fit()
    stopped = build("stopped", Stops())
    with pytest.raises(InterruptedRunError):
        stopped.fit()
    resumed = build("stopped", Stops(), seed=1)
    path = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    resumed.load_state_dict(read_checkpoint(path), path)
    assert resumed.global_step == stop_after
    resumed.fit()
    assert_same(final_state(whole), final_state(resumed))
    best = [
        read_checkpoint(tmp_path / n / "checkpoints" / "best.ckpt") for n in ("whole", "stopped")
    ]
    assert_same(*(state.pop("model") for state in best))
    assert best[0] == best[1]
    assert (tmp_path / "whole/metrics.csv").read_text() == (
        tmp_path / "stopped/metrics.csv"
    ).read_text()


def test_the_newest_state_is_that_of_the_epoch_just_done(
    fabric, toy_model, toy_data, toy_config, tmp_path
):
    saved = []

    class Reads(Hook):
        def after_epoch(self, trainer):
            state = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
            saved.append((state["epoch"], state["global_step"]))

    (tmp_path / "checkpoints").mkdir()
    hooks = [*default_hooks(tmp_path, "toy"), Reads()]
    make_trainer(fabric, toy_model, toy_data, toy_config, hooks).fit()
    assert saved == [(1, 4), (2, 8), (3, 12)]


def test_signal_stops_after_the_step_with_a_checkpoint(
    fabric, toy_model, toy_data, toy_config, tmp_path
):
    class Interrupts(Hook):
        def after_backward(self, trainer):
            if trainer.global_step == 4:
                os.kill(os.getpid(), signal.SIGINT)

    (tmp_path / "checkpoints").mkdir()
    hooks = [*default_hooks(tmp_path, "toy"), Interrupts()]
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config, hooks)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRunError, match="epoch 2 after step 5"):
        trainer.fit()
    state = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert (state["epoch"], state["step_in_epoch"], state["global_step"]) == (1, 1, 5)
    assert signal.getsignal(signal.SIGINT) is before


def test_checkpoint_of_another_model_is_refused(fabric, toy_model, toy_data, toy_config, tmp_path):
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config)
    state = trainer.state_dict()
    state["model"] = {"other.weight": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"another model.*lacks layers.0.weight"):
        trainer.load_state_dict(state, tmp_path / "x.ckpt")


def test_checkpoint_with_other_shapes_is_refused(fabric, toy_model, toy_data, toy_config, tmp_path):
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config)
    state = trainer.state_dict()
    state["model"] = {**state["model"], "layers.4.bias": torch.zeros(5)}
    with pytest.raises(CheckpointError, match=r"layers.4.bias is \(5,\) instead of \(2,\)"):
        trainer.load_state_dict(state, tmp_path / "x.ckpt")


def test_broken_or_incomplete_checkpoint_is_refused(
    fabric, toy_model, toy_data, toy_config, tmp_path
):
    path = tmp_path / "last.ckpt"
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config)
    save_checkpoint(fabric, path, trainer.state_dict())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="no complete checkpoint.*optimizer"):
        trainer.load_state_dict({"model": trainer.state_dict()["model"]}, path)


def test_failed_write_keeps_the_earlier_checkpoint(fabric, tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_checkpoint(fabric, path, {"epoch": 1})

    def full_disk(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match=r"No space left.*earlier checkpoint.*--resume"):
        save_checkpoint(fabric, path, {"epoch": 2})
    assert read_checkpoint(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("is_cause", [True, False])
def test_what_the_disk_said_is_told_where_torch_hides_it(fabric, tmp_path, monkeypatch, is_cause):
    def full_disk(state, file):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            wrong = RuntimeError("unexpected pos 64 vs 0")
            if is_cause:
                raise wrong from error
            raise wrong  # noqa: B904 (as torch does)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match=r"Cannot write .*last\.ckpt \(.*No space left"):
        save_checkpoint(fabric, tmp_path / "last.ckpt", {"epoch": 1})
    assert list(tmp_path.iterdir()) == []


def draw() -> list[float]:
    """Return a number of each global generator."""
    return [torch.rand(1).item(), float(np.random.rand()), random.random()]  # noqa: NPY002


def test_all_global_generators_go_on_where_a_saved_state_was(fabric, tmp_path):
    draw()
    np.random.randn()  # noqa: NPY002 (leaves a second normal number for the next call)
    random.gauss()
    save_checkpoint(fabric, tmp_path / "last.ckpt", rng_state())
    expected = [draw(), np.random.randn(), random.gauss()]  # noqa: NPY002
    for _ in range(3):
        draw()
    load_rng_state(read_checkpoint(tmp_path / "last.ckpt"))
    assert [draw(), np.random.randn(), random.gauss()] == expected  # noqa: NPY002


def test_evaluation_gives_every_sample_once_in_order(fabric, toy_model, toy_data, toy_config):
    trainer = make_trainer(fabric, toy_model, toy_data, replace(toy_config, batch_size=5))
    outputs = trainer.evaluate(toy_data)
    assert outputs.indices.tolist() == list(range(16))
    assert outputs.labels.tolist() == toy_data.labels
    toy_model.eval()
    expected = toy_model(toy_data.images.float() / 255)
    assert torch.allclose(outputs.values, expected, atol=1e-5)


def test_toy_classes_are_learnt(fabric, toy_model, toy_data, toy_config):
    config = replace(toy_config, epochs=20, augment="none")
    trainer = make_trainer(fabric, toy_model, toy_data, config)
    trainer.fit()
    assert trainer.metrics["val/accuracy"] == 1.0


def test_class_weights_make_rare_classes_count_as_much():
    weights = inverse_frequency_weights([0] * 30 + [1] * 10, 3)
    assert weights.tolist() == pytest.approx([40 / 90, 40 / 30, 0])


def test_an_event_file_that_cannot_be_written_names_the_folder_and_the_way_out(
    fabric, toy_model, toy_data, toy_config, tmp_path, monkeypatch
):
    (tmp_path / "checkpoints").mkdir()
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config, default_hooks(tmp_path, "toy"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", fail)
    with pytest.raises(OSError, match=f"No space left on device.*--resume: '{tmp_path}'"):
        trainer.fit()


def test_an_event_file_that_cannot_be_opened_or_closed_is_named_too(
    fabric, toy_model, toy_data, toy_config, tmp_path, monkeypatch
):
    (tmp_path / "checkpoints").mkdir()
    trainer = make_trainer(fabric, toy_model, toy_data, toy_config, default_hooks(tmp_path, "toy"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    told = rf"TensorBoard events \(No space left on device.*--resume: '{tmp_path}'"
    with monkeypatch.context() as patched:
        patched.setattr(SummaryWriter, "__init__", fail)
        with pytest.raises(OSError, match=told):
            trainer.fit()
    monkeypatch.setattr(SummaryWriter, "close", fail)
    with pytest.raises(OSError, match=told):
        trainer.fit()
    with pytest.raises(OSError, match=told):
        log_pictures(tmp_path, {})


def test_checkpoints_from_before_processes_had_their_own_state_are_resumed(
    fabric, toy_model, toy_data, toy_config, tmp_path
):
    trainer, state = stop_in_second_epoch(fabric, toy_model, toy_data, toy_config)
    generator = torch.get_rng_state()
    [own] = state.pop("processes")
    torch.rand(1)
    resumed = make_trainer(fabric, copy.deepcopy(toy_model), toy_data, toy_config)
    resumed.load_state_dict({**state, **own}, tmp_path)
    assert_same_batches(resumed._seen, trainer._seen)
    assert torch.equal(torch.get_rng_state(), generator)
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        trainer.load_state_dict({**state, "processes": []}, tmp_path)


def stop_in_second_epoch(fabric, toy_model, toy_data, toy_config) -> tuple[ClassifierTrainer, dict]:
    """Return a trainer of four steps an epoch after its sixth, and its state."""

    class Stops(Hook):
        def after_step(self, trainer):
            trainer.stop.requested = trainer.global_step == 6

    trainer = make_trainer(fabric, toy_model, toy_data, toy_config, [Stops()])
    with pytest.raises(InterruptedRunError):
        trainer.fit()
    return trainer, {**trainer.state_dict(), "hooks": {}}


def assert_same_batches(found: list, expected: list) -> None:
    assert len(found) == len(expected) == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_a_state_in_the_middle_of_an_epoch_is_taken_back_with_all_counts(
    fabric, toy_model, toy_data, toy_config, tmp_path
):
    trainer, state = stop_in_second_epoch(fabric, toy_model, toy_data, toy_config)
    generator = torch.get_rng_state()
    torch.rand(1)
    resumed = make_trainer(fabric, copy.deepcopy(toy_model), toy_data, toy_config)
    resumed.load_state_dict(state, tmp_path)
    assert (resumed.epoch, resumed.step_in_epoch, resumed.global_step) == (1, 2, 6)
    assert resumed.images_trained == 6 * 4
    assert resumed.train_seconds == trainer.train_seconds > 0
    assert_same_batches(resumed._seen, trainer._seen)
    assert torch.equal(torch.get_rng_state(), generator)


def exchange(rank: int, folder: str, told) -> None:
    """Gather what two processes have seen in the middle of an epoch."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    found = gather_objects(
        SimpleNamespace(world_size=2), {"seen": [torch.tensor([rank])] * (rank + 1)}
    )
    told.send([len(part["seen"]) for part in found])


def test_each_process_finds_again_what_it_has_seen_itself(tmp_path):
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    processes = [
        context.Process(target=exchange, args=(rank, str(tmp_path), pipes[rank][1]))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    assert [ours.recv() for ours, _ in pipes] == [[1, 2], [1, 2]]
    for process in processes:
        process.join(20)
    assert gather_objects(SimpleNamespace(world_size=1), "own") == ["own"]
