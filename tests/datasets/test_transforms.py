"""Augmentation on the batch."""

from __future__ import annotations

import torch

from datasets.transforms import flip_and_rotate


def draw(images: torch.Tensor, seed: int) -> torch.Tensor:
    return flip_and_rotate(images, torch.Generator().manual_seed(seed))


def test_a_quarter_of_the_images_is_plain_and_flips_are_exact():
    images = torch.rand(1, 3, 16, 16).expand(400, -1, -1, -1).contiguous()
    augmented = draw(images, 0)
    flips = [images, images.flip(3), images.flip(2), images.flip(2, 3)]
    exact = [
        torch.isclose(augmented, flipped, atol=1e-4).flatten(1).all(dim=1).sum().item()
        for flipped in flips
    ]
    assert 70 < exact[0] < 130
    assert all(15 < number < 55 for number in exact[1:])


def test_draw_depends_on_the_generator_alone():
    images = torch.rand(8, 3, 16, 16)
    assert torch.equal(draw(images, 3), draw(images, 3))
    assert not torch.equal(draw(images, 3), draw(images, 4))


def test_values_stay_in_range_and_shape():
    augmented = draw(torch.rand(32, 3, 20, 20), 1)
    assert augmented.shape == (32, 3, 20, 20)
    assert 0 <= augmented.min() <= augmented.max() <= 1 + 1e-6
