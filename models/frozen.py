"""Encoders that give features: frozen ones, which never change, and ones that are trained on."""

# B batch, S side in pixels

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """A module used for its features; as a part of a model it is trained along with the rest.

    Args:
        name: Of the encoder in tables, stores and state keys.
        module: Maps normalised images (B, 3, S, S) to features (B, *feature_shape).
        input_size: S.
        feature_shape: Of one sample: (channels, height, width) for a map, (features,) for a vector.
        mean: By channel, subtracted from images in [0, 1].
        std: By channel, divided by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        module: nn.Module,
        input_size: int,
        feature_shape: Sequence[int],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.name = name
        self.module = module
        self.input_size = input_size
        self.feature_shape = tuple(feature_shape)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, *feature_shape) of `images`, float (B, 3, S, S) in [0, 1]."""
        features: Tensor = self.module((images - self.mean) / self.std)
        return features


class FrozenEncoder(Encoder):
    """An encoder that never changes, so that its features can be stored.

    Frozen means: no parameter requires a gradient, no graph is built, and batch normalization
    stays in evaluation mode whatever `train()` a parent calls.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        input_size: int,
        feature_shape: Sequence[int],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__(name, module, input_size, feature_shape, mean, std)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, *feature_shape) of `images`, float (B, 3, S, S) in [0, 1]."""
        return super().forward(images)

    @property
    def transform(self) -> str:
        """The evaluation transform in words, part of a feature store's key."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        return f"RGB, bilinear antialiased {self.input_size}x{self.input_size}, {mean=}, {std=}"


def unfreeze(encoder: FrozenEncoder) -> Encoder:
    """Return a trainable copy with the same weights; frozen encoders inside it are unfrozen too."""
    mean, std = encoder.mean.flatten().tolist(), encoder.std.flatten().tolist()
    module = deepcopy(encoder.module)
    copied = Encoder(encoder.name, module, encoder.input_size, encoder.feature_shape, mean, std)
    for path, inner in frozen_encoders(copied).items():
        copied.set_submodule(path, unfreeze(inner))
    return copied.requires_grad_()


def hash_state(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers: names, dtypes, shapes, bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def frozen_encoders(module: nn.Module) -> dict[str, FrozenEncoder]:
    """Return the frozen encoders inside `module` by their path in it."""
    return {
        path: child for path, child in module.named_modules() if isinstance(child, FrozenEncoder)
    }
