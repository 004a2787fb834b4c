"""Data kept on a device: the same batches as from a loader, and only where they have room."""

from __future__ import annotations

import copy

import pytest
import torch

from trainers import resident
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig
from trainers.data import make_loader
from trainers.resident import Loading, ResidentBatches, ResidentData, count_bytes
from trainers.sampling import EpochBatches


class WithFeatures:
    """The toy images, each with features of two encoders; counts how often it is read."""

    def __init__(self, toy_data) -> None:
        self.toy, self.reads = toy_data, 0
        self.samples, self.labels, self.classes = toy_data.samples, toy_data.labels, ("a", "b")

    def __len__(self) -> int:
        return len(self.toy)

    def __getitem__(self, index: int) -> dict:
        self.reads += 1
        features = {
            "map": torch.full((2, 3, 3), index / 7).half(),
            "five": torch.arange(5.0) * index,
        }
        return {**self.toy[index], "features": features}


@pytest.fixture
def data(toy_data, monkeypatch) -> WithFeatures:
    monkeypatch.setattr(resident, "_READ_AT_ONCE", 3)
    return WithFeatures(toy_data)


def assert_same(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[name], value)
        else:
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value), name


def test_batches_are_those_of_a_loader_also_after_a_resume(fabric, data):
    batches = EpochBatches(len(data), 4, shuffle=True, seed=3)
    kept = ResidentBatches(ResidentData(data, torch.device("cpu")), batches)
    for epoch, step in ((0, 0), (1, 2)):
        batches.set_position(epoch, step)
        found, expected = list(kept), list(make_loader(fabric, data, batches, 0))
        assert len(found) == len(expected) == len(batches) - step
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs)


def test_what_has_room_is_read_once_and_the_rest_anew(fabric, data, toy_data, monkeypatch):
    once = WithFeatures(toy_data)
    order = EpochBatches(len(data), 4, shuffle=False)
    monkeypatch.setattr(resident, "free_bytes", lambda _: 4 * count_bytes(data))
    loading = Loading(fabric, 0, [data])
    first = list(loading.open(data, order))
    reads = data.reads
    list(loading.open(data, order))
    assert data.reads == reads
    for _ in range(2):
        before = once.reads
        assert_same(next(iter(loading.open(once, order))), first[0])
        assert once.reads > before, "what is not read in every epoch is not kept"
    monkeypatch.setattr(resident, "free_bytes", lambda _: 3.9 * count_bytes(data))
    assert not isinstance(Loading(fabric, 0, [data]).open(data, order), ResidentBatches)


def test_without_a_gpu_nothing_is_kept_nor_read_to_find_out(fabric, data):
    order = EpochBatches(len(data), 4, shuffle=False)
    assert not isinstance(Loading(fabric, 0, [data]).open(data, order), ResidentBatches)
    assert data.reads == 0


def test_what_does_not_fit_after_all_is_read_each_time(fabric, data, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(resident, "free_bytes", lambda _: 10**9)
    monkeypatch.setattr(resident, "ResidentData", fail)
    order = EpochBatches(len(data), 4, shuffle=False)
    assert len(list(Loading(fabric, 0, [data]).open(data, order))) == len(order)
    assert "others use the GPU too" in caplog.text


def test_a_fit_ends_with_the_same_weights(fabric, toy_data, toy_model, monkeypatch):
    found = []
    monkeypatch.setattr(resident, "free_bytes", lambda _: 10**9)
    for is_kept in (False, True):
        config = TrainerConfig(epochs=2, batch_size=4, keep_on_gpu=is_kept)
        trainer = ClassifierTrainer(
            fabric, copy.deepcopy(toy_model), toy_data, toy_data, config, []
        )
        assert isinstance(trainer.train_loader, ResidentBatches) == is_kept
        trainer.fit()
        found.append((trainer.metrics, trainer.model.module.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], value) for name, value in found[1][1].items())
