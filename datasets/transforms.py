"""Augmentation of a batch, on the device it lies on."""

# B batch, C channels, H W height width

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Augment = Literal["none", "flips-15", "flips-360"]
MAX_DEGREES = 15.0


def augment(images: Tensor, kind: Augment, generator: torch.Generator) -> Tensor:
    """Return a random view of each image.

    Corners that a rotation opens are filled with the nearest pixel at the border.

    Args:
        images: Float (B, C, H, W).
        kind: ``none``; ``flips-15``, plain, flipped, rotated by up to 15 degrees, or both, equally
            likely, as in the fused system, which shows each image in all four (a flip is
            horizontal, vertical or both); ``flips-360``, flipped along each axis in half of the
            cases and rotated by any angle, as in the AML system.
        generator: On the CPU, so that the draw is the same on every device.

    Returns:
        A batch of the same shape, dtype and device.
    """
    if kind == "none":
        return images
    draw = _draw_small_turns if kind == "flips-15" else _draw_any_turns
    flip_x, flip_y, angles = draw(len(images), generator)
    matrices = _turn_matrices(flip_x, flip_y, angles, images.shape[2] / images.shape[3])
    grid = functional.affine_grid(
        matrices.to(images.device, images.dtype), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _draw_small_turns(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return signs along x and y, and angles in radians, each (B,)."""
    kind = torch.randint(4, (batch,), generator=generator)
    axes = torch.randint(1, 4, (batch,), generator=generator)
    angles = (torch.rand(batch, generator=generator) * 2 - 1) * torch.deg2rad(
        torch.tensor(MAX_DEGREES)
    )
    flipped = (kind == 1) | (kind == 3)
    angles = torch.where(kind >= 2, angles, 0.0)
    flip_x = torch.where(flipped & (axes != 2), -1.0, 1.0)
    flip_y = torch.where(flipped & (axes != 1), -1.0, 1.0)
    return flip_x, flip_y, angles


def _draw_any_turns(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    signs = torch.randint(2, (2, batch), generator=generator) * 2.0 - 1
    angles = torch.rand(batch, generator=generator) * 2 * torch.pi
    return signs[0], signs[1], angles


def _turn_matrices(flip_x: Tensor, flip_y: Tensor, angles: Tensor, aspect: float) -> Tensor:
    """Return the maps (B, 2, 3) from output to input, both in [-1, 1], of a turn in pixels.

    `aspect` is height over width; without it a turn of an oblong image would skew it.
    """
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros(len(angles))
    return torch.stack(
        [
            torch.stack([flip_x * cos, -flip_x * sin * aspect, zero], dim=1),
            torch.stack([flip_y * sin / aspect, flip_y * cos, zero], dim=1),
        ],
        dim=1,
    )
