"""Same seed, same result: over worker counts to the bit, over devices and threads to a bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from datasets.images import ImageDataset
from datasets.samples import Sample, hash_file
from models.backbones import RANDOM
from models.registry import BackboneSpec, GrayCnnSpec, build_model
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig

CLASSES = ("dark", "light")
CONFIG = TrainerConfig(epochs=2, batch_size=4, max_lr=1e-3, augment="flips-15")
PROB_BOUND = 0.01
"""Largest difference of a class probability of the same weights on two devices in 32 bit; TF32,
which GPUs use for convolutions, keeps 10 bits of a factor."""
LOSS_BOUND = 0.02
"""Largest difference in nats of the loss after two epochs at a rate of 0.001."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    found = []
    for index in range(10):
        pixels = generator.integers(0, 120, (40, 40, 3)) + 100 * (index % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
        path = folder / f"{index}.png"
        label = CLASSES[index % 2]
        found.append(Sample(path.name, path, label, "train", str(index), hash_file(path)))
    return found


def make_fabric(accelerator: str) -> Fabric:
    fabric = Fabric(accelerator=accelerator, devices=1, precision="32-true")
    fabric.launch()
    return fabric


def fit(samples: list[Sample], spec, accelerator: str = "cpu", num_workers: int = 0):
    """Return the trainer after a fit, and the probabilities of its first weights."""
    torch.manual_seed(0)
    model = build_model(spec, 2, RANDOM)
    data = ImageDataset(samples, CLASSES, model.input_size)
    config = replace(CONFIG, num_workers=num_workers)
    trainer = ClassifierTrainer(make_fabric(accelerator), model, data, data, config, [])
    first = trainer.evaluate(data).values.softmax(1)
    trainer.fit()
    return trainer, first


@pytest.fixture(scope="module")
def in_this_process(samples):
    return fit(samples, GrayCnnSpec())[0]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_the_number_of_workers_changes_no_bit(samples, in_this_process, num_workers: int):
    other, _ = fit(samples, GrayCnnSpec(), num_workers=num_workers)
    expected, found = (t.model.module.state_dict() for t in (in_this_process, other))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert in_this_process.metrics == other.metrics
    assert torch.equal(in_this_process.val_outputs.values, other.val_outputs.values)


def test_another_seed_gives_another_result(samples, in_this_process):
    torch.manual_seed(0)
    model = build_model(GrayCnnSpec(), 2)
    data = ImageDataset(samples, CLASSES, model.input_size)
    other = ClassifierTrainer(make_fabric("cpu"), model, data, data, replace(CONFIG, seed=1), [])
    other.fit()
    assert other.metrics != in_this_process.metrics


SPECS = {
    "gray CNN": GrayCnnSpec(),
    "resnet18": BackboneSpec("resnet18", input_size=(64, 64)),
    "resnet18, group norm": BackboneSpec("resnet18", norm="group", input_size=(64, 64)),
}


def assert_bounded(first, second) -> None:
    (one, probs), (other, other_probs) = first, second
    assert (probs - other_probs).abs().max() <= PROB_BOUND
    assert abs(one.metrics["val/loss"] - other.metrics["val/loss"]) <= LOSS_BOUND
    assert abs(one.metrics["train/loss"] - other.metrics["train/loss"]) <= LOSS_BOUND


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", SPECS)
def test_cpu_and_gpu_differ_within_a_bound(samples, name: str):
    spec = SPECS[name]
    assert_bounded(fit(samples, spec), fit(samples, spec, "cuda"))


def test_numbers_of_threads_differ_within_the_same_bound(samples):
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(fit(samples, SPECS["gray CNN"]))
    finally:
        torch.set_num_threads(threads)
    first, second = (trainer.model.module.state_dict() for trainer, _ in found)
    assert any(not torch.equal(first[name], second[name]) for name in first), "one thread each"
    assert_bounded(*found)
