"""Augmentation of a batch, on the device it lies on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAX_DEGREES = 15.0


def flip_and_rotate(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image plain, flipped, rotated by up to 15 degrees, or both, at random.

    The four kinds are equally likely, as in the source system, which shows each image in all four.
    A flip is horizontal, vertical or both. Corners that a rotation opens are filled with the
    nearest pixel at the border.

    Args:
        images: Float (B, C, H, W).
        generator: On the CPU, so that the draw is the same on every device.

    Returns:
        A batch of the same shape, dtype and device.
    """
    batch = len(images)
    kind = torch.randint(4, (batch,), generator=generator)
    axes = torch.randint(1, 4, (batch,), generator=generator)
    angles = (torch.rand(batch, generator=generator) * 2 - 1) * torch.deg2rad(
        torch.tensor(MAX_DEGREES)
    )
    flipped = (kind == 1) | (kind == 3)
    angles = torch.where(kind >= 2, angles, 0.0)
    flip_x = torch.where(flipped & (axes != 2), -1.0, 1.0)
    flip_y = torch.where(flipped & (axes != 1), -1.0, 1.0)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros(batch)
    matrices = torch.stack(
        [
            torch.stack([flip_x * cos, -flip_x * sin, zero], dim=1),
            torch.stack([flip_y * sin, flip_y * cos, zero], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(
        matrices.to(images.device, images.dtype), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
