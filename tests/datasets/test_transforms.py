"""Augmentation on the batch."""

from __future__ import annotations

import torch

from datasets.transforms import augment


def draw(images: torch.Tensor, seed: int) -> torch.Tensor:
    return augment(images, "flips-15", torch.Generator().manual_seed(seed))


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


def test_any_turn_keeps_a_disc_and_its_colours_but_turns_a_mark():
    size, number = 65, 64
    axis = torch.linspace(-1, 1, size)
    radius = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    disc = (radius < 0.6).float().expand(1, 3, size, size)
    views = augment(disc.repeat(number, 1, 1, 1), "flips-360", torch.Generator().manual_seed(0))
    assert (views - disc).abs().mean() < 0.02
    mark = torch.zeros(1, 1, size, size)
    mark[:, :, 30:35, 50:55] = 1
    views = augment(mark.repeat(number, 1, 1, 1), "flips-360", torch.Generator().manual_seed(0))
    weights = views[:, 0] / views[:, 0].sum(dim=(1, 2), keepdim=True)
    angles = torch.atan2((weights * axis[:, None]).sum((1, 2)), (weights * axis).sum((1, 2)))
    quadrants = torch.histc(angles, bins=4, min=-torch.pi, max=torch.pi)
    assert quadrants.min() >= number / 10


def test_a_turn_of_an_oblong_image_is_a_turn_in_pixels():
    images = torch.zeros(64, 1, 60, 80)
    images[:, :, 20:40, 30:50] = 1  # A square; skewed, its area would change its extent.
    views = augment(images, "flips-360", torch.Generator().manual_seed(0))[:, 0]
    rows = torch.arange(60.0)[:, None] - 29.5
    columns = torch.arange(80.0)[None, :] - 39.5
    mass = views.sum((1, 2))
    moment = (views * (rows**2 + columns**2)).sum((1, 2)) / mass
    assert torch.allclose(moment, moment[:1].expand(64), rtol=0.02)
    assert torch.allclose(mass, torch.tensor(400.0), rtol=0.02)


def test_no_augmentation_returns_the_images():
    images = torch.rand(2, 3, 4, 4)
    assert augment(images, "none", torch.Generator()) is images
