"""Values that are not finite are named and stopped before they do damage."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from datasets.errors import DatasetError, UnreadableImageError
from datasets.feature_writing import write_store
from datasets.features import FeatureSpec, FeatureStore
from datasets.images import read_image
from datasets.samples import Sample, hash_file
from models.frozen import FrozenEncoder
from trainers.checkpoint import read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.errors import NonFiniteError, RunError
from trainers.feature_extraction import ensure_features
from trainers.hooks import Hook, default_hooks

INFINITE = float("inf")


class PoisonGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


class Poisoned(nn.Module):
    """The toy model; from the forward pass `start` on it has what `kind` says."""

    def __init__(self, toy_model: nn.Module, kind: str, start: int) -> None:
        super().__init__()
        self.toy = toy_model
        self.kind = kind
        self.start = start
        self.num_calls = 0

    def forward(self, images):
        logits = self.toy(images)
        if self.training:
            self.num_calls += 1
            if self.num_calls >= self.start and self.kind == "loss":
                return logits * float("inf")
            if self.num_calls >= self.start and self.kind == "infinite loss":
                return logits - torch.tensor([INFINITE, 0.0])  # The dark ones' loss, and no NaN.
            if self.num_calls >= self.start and self.kind == "gradient":
                return PoisonGradient.apply(logits)
            if self.num_calls == self.start and self.kind == "infinite gradient":
                # Further back, infinite values of both signs would add up to NaN.
                bias = self.toy.layers[-1].bias
                bias.register_hook(lambda gradient: torch.full_like(gradient, INFINITE))
        elif self.num_calls >= self.start and "validation" in self.kind:
            value = INFINITE if self.kind == "infinite validation" else float("nan")
            return torch.where(images.mean((1, 2, 3))[:, None] > 0.3, value, logits)
        return logits


@pytest.mark.parametrize(
    ("kind", "start", "message"),
    [
        ("loss", 6, r"loss of step 6 \(epoch 2\) is not finite.*toy/\d+, toy/\d+.*last\.ckpt"),
        ("infinite loss", 6, r"loss of step 6 \(epoch 2\) is not finite.*toy/\d+.*last\.ckpt"),
        ("gradient", 6, r"gradient of step 6 \(epoch 2\) is not finite.*toy/\d+.*last\.ckpt"),
        ("infinite gradient", 6, r"gradient of step 6 \(epoch 2\) is not finite.*last\.ckpt"),
        (
            "validation",
            8,
            r"values of 8 of 16 train images.*finite: toy/1, toy/3.*last\.ckpt",
        ),
        ("infinite validation", 8, r"values of 8 of 16 train images.*finite: toy/1.*last\.ckpt"),
    ],
)
def test_trouble_in_the_second_epoch_keeps_the_checkpoints_of_the_first(
    fabric, toy_model, toy_data, toy_config, tmp_path: Path, kind: str, start: int, message: str
):
    (tmp_path / "checkpoints").mkdir()

    class Keeps(Hook):
        def after_epoch(self, trainer):
            self.files = {p.name: p.read_bytes() for p in (tmp_path / "checkpoints").iterdir()}

        def after_backward(self, trainer):
            self.weights = trainer.model.module.toy.layers[0].weight.clone()

        def after_step(self, trainer):
            self.weights = trainer.model.module.toy.layers[0].weight.clone()

    keeps = Keeps()
    config = replace(toy_config, batch_size=4)
    trainer = ClassifierTrainer(
        fabric, Poisoned(toy_model, kind, start), toy_data, toy_data, config,
        [*default_hooks(tmp_path, "toy"), keeps],
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match=message):
        trainer.fit()
    assert torch.equal(trainer.model.module.toy.layers[0].weight, keeps.weights)
    after = {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    assert after == keeps.files
    assert set(after) == {"best.ckpt", "last.ckpt"}
    state = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert state["epoch"] == 1
    assert all(torch.isfinite(v).all() for v in state["model"].values() if v.is_floating_point())


@pytest.mark.parametrize("value", [float("nan"), INFINITE])
def test_values_of_other_data_than_validation_must_be_finite_too(
    fabric, toy_model, toy_data, toy_config, value
):
    trainer = ClassifierTrainer(fabric, toy_model, toy_data, toy_data, toy_config, [])
    with torch.no_grad():
        toy_model.layers[-1].bias[0] = value
    with pytest.raises(NonFiniteError, match="values of 16 of 16 train images"):
        trainer.evaluate(copy.deepcopy(toy_data))


SPEC = FeatureSpec("toy", "0" * 64, "none", "32-true", (2, 3, 3))


def write(path: Path, features: NDArray[np.float32], names: Sequence[str] = ()) -> FeatureStore:
    keys = [f"{index:064d}" for index in range(len(features))]
    write_store(path, SPEC, keys, len(features), lambda batches: [features], names)
    return FeatureStore(path, SPEC.key(keys))


def test_large_but_finite_features_are_served(tmp_path: Path):
    largest = np.finfo(np.float16).max
    store = write(tmp_path / "s.h5", np.full((3, 2, 3, 3), largest, dtype=np.float32))
    assert store.read(f"{0:064d}").max() == largest


def test_features_that_are_not_finite_are_not_stored_and_their_images_named(tmp_path: Path):
    batch = np.ones((3, 2, 3, 3), dtype=np.float32)
    batch[2, 0, 0, 0] = 1e6  # More than half precision holds.
    with pytest.raises(DatasetError, match=r"in float16 for cell c\. Look at"):
        write(tmp_path / "s.h5", batch, ["cell a", "cell b", "cell c"])
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_image_with_values_that_are_not_finite_is_refused(tmp_path: Path, value: float):
    pixels = np.full((4, 5), 7, dtype=np.float32)
    pixels[1, 2] = value
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImageError, match=r"x\.tif.*values that are not finite"):
        read_image(tmp_path / "x.tif")


class Moving(nn.Module):
    """Gives the mean of each channel and its count; unless at rest, that grows with each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.is_at_rest = False

    def forward(self, images):
        if not self.is_at_rest:
            self.count += 1
        return images.mean((2, 3)) + self.count


def test_an_encoder_that_moves_while_it_encodes_stores_nothing(fabric, tmp_path: Path):
    Image.new("RGB", (8, 8), (200, 10, 90)).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    samples = [Sample("a", path, "x", "train", "a", hash_file(path))]
    moving = Moving()
    encoder = FrozenEncoder("moving", moving, 8, (3,))
    with pytest.raises(RunError, match="encoder moving changed while its features were extracted"):
        ensure_features(fabric, encoder, samples, tmp_path / "cache")
    left = {path.suffix for path in (tmp_path / "cache").rglob("*")}
    assert left.isdisjoint({".h5", ".partial"})
    moving.count.zero_()
    moving.is_at_rest = True
    found = ensure_features(fabric, encoder, samples, tmp_path / "cache").read(
        samples[0].content_key
    )
    assert found.tolist() == pytest.approx([200 / 255, 10 / 255, 90 / 255], abs=1e-3)
