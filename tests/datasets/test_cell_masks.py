"""Cell masks against squares and discs of known areas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.cell_masks import (
    Box,
    apply_mask,
    crop_box,
    find_boxes,
    read_regions,
    to_regions,
)
from datasets.errors import DatasetError, UnreadableImageError


def disc(size: int, radius: float, centre: tuple[float, float] | None = None) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    row, column = centre or ((size - 1) / 2, (size - 1) / 2)
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def levels(cell: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    return np.where(nucleus, 255, np.where(cell, 128, 0)).astype(np.uint8)


def square(size: int, top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_squares_have_their_areas():
    found = to_regions(levels(square(40, 5, 5, 20), square(40, 10, 10, 10)))
    assert (found.nucleus_area, found.cytoplasm_area) == (100, 300)
    assert found.nucleus_to_cytoplasm == pytest.approx(1 / 3)
    assert found.nucleus_fraction == pytest.approx(1 / 4)
    assert found.num_stray == 0


def test_discs_have_nearly_the_areas_of_circles():
    found = to_regions(levels(disc(301, 120), disc(301, 60)))
    assert found.nucleus_area == pytest.approx(math.pi * 60**2, rel=0.01)
    assert found.cytoplasm_area == pytest.approx(math.pi * (120**2 - 60**2), rel=0.01)


def test_stray_levels_count_as_the_nearest_region():
    found = to_regions(
        np.array([[0, 1, 63, 65, 127, 128], [129, 191, 192, 254, 255, 255]], np.uint8)
    )
    assert found.regions.tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 2, 2, 2, 2]]
    assert found.num_stray == 8


def test_every_level_falls_to_the_region_that_is_nearest_by_hand():
    every = np.arange(256, dtype=np.uint8)[None]
    expected = [min((0, 128, 255), key=lambda level: abs(level - value)) for value in range(256)]
    assert [(0, 128, 255)[r] for r in to_regions(every).regions[0]] == expected


def test_empty_mask_has_no_ratio_and_no_box():
    found = to_regions(np.zeros((9, 9), dtype=np.uint8))
    assert math.isnan(found.nucleus_to_cytoplasm)
    assert math.isnan(found.nucleus_fraction)
    assert find_boxes(found.inside) == []


def test_nucleus_without_cytoplasm_has_an_infinite_ratio():
    found = to_regions(levels(square(9, 2, 2, 4), square(9, 2, 2, 4)))
    assert found.nucleus_to_cytoplasm == math.inf
    assert found.nucleus_fraction == 1


def test_cytoplasm_without_nucleus_has_ratio_zero():
    found = to_regions(levels(square(9, 2, 2, 4), square(9, 0, 0, 0)))
    assert found.nucleus_to_cytoplasm == 0


def test_read_regions_takes_gray_and_rgb_masks_alike(tmp_path: Path):
    mask = Image.fromarray(levels(disc(30, 12), disc(30, 5)))
    mask.save(tmp_path / "gray.png")
    mask.convert("RGB").save(tmp_path / "rgb.bmp")
    gray = read_regions(tmp_path / "gray.png", (30, 30))
    rgb = read_regions(tmp_path / "rgb.bmp", (30, 30))
    assert (gray.regions == rgb.regions).all()
    assert gray.nucleus_area == disc(30, 5).sum()


def test_mask_kept_as_jpeg_keeps_its_areas(tmp_path: Path):
    Image.fromarray(levels(disc(120, 50), disc(120, 25))).save(tmp_path / "m.jpg", quality=90)
    found = read_regions(tmp_path / "m.jpg", (120, 120))
    assert found.num_stray > 100
    assert found.nucleus_area == pytest.approx(disc(120, 25).sum(), rel=0.1)
    assert found.inside.sum() == pytest.approx(disc(120, 50).sum(), rel=0.1)


def test_mask_of_another_size_is_refused(tmp_path: Path):
    Image.new("L", (30, 31)).save(tmp_path / "m.png")
    with pytest.raises(DatasetError, match=r"m\.png: the mask has 30x31 pixels, its image 30x30"):
        read_regions(tmp_path / "m.png", (30, 30))


def test_broken_mask_is_named(tmp_path: Path):
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(UnreadableImageError, match=r"m\.png"):
        read_regions(tmp_path / "m.png", (30, 30))


@pytest.mark.parametrize("shape", [(20, 20, 3), (20, 20)])
def test_applied_mask_is_black_outside_and_untouched_inside(shape):
    pixels = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    inside = disc(20, 7)
    masked = apply_mask(pixels, inside)
    assert masked.dtype == np.uint8
    assert (masked[inside] == pixels[inside]).all()
    assert not masked[~inside].any()


def test_mask_with_axes_exchanged_is_refused():
    with pytest.raises(DatasetError, match="20x30 pixels, its image 30x20"):
        apply_mask(np.zeros((20, 30, 3), np.uint8), np.ones((30, 20), dtype=bool))


def test_boxes_are_half_open_and_largest_first():
    mask = square(50, 3, 4, 6) | square(50, 20, 30, 15)
    assert find_boxes(mask) == [Box(30, 20, 45, 35), Box(4, 3, 10, 9)]
    box = find_boxes(mask)[0]
    assert mask[box.top : box.bottom, box.left : box.right].all()


def test_specks_are_left_out_and_corners_connect():
    mask = square(50, 20, 30, 15)
    mask[0, 0] = mask[1, 1] = True
    assert len(find_boxes(mask)) == 2
    assert find_boxes(mask)[1] == Box(0, 0, 2, 2)
    assert find_boxes(mask, min_area=3) == [Box(30, 20, 45, 35)]


def test_box_of_the_whole_mask_is_the_image():
    assert find_boxes(np.ones((7, 9), dtype=bool)) == [Box(0, 0, 9, 7)]


def test_box_of_a_disc_is_its_diameter():
    assert find_boxes(disc(41, 10, (20, 15))) == [Box(5, 10, 26, 31)]


def numbered(height: int = 12, width: int = 10) -> np.ndarray:
    return np.arange(height * width, dtype=np.uint8).reshape(height, width)


def test_crop_inside_the_image_is_the_same_clipped_and_padded():
    clipped = crop_box(numbered(), Box(3, 4, 6, 8), 2)
    padded = crop_box(numbered(), Box(3, 4, 6, 8), 2, beyond="pad")
    assert (clipped == numbered()[2:10, 1:8]).all()
    assert (clipped == padded).all()


def test_crop_at_the_corner_is_clipped_to_the_image():
    assert (crop_box(numbered(), Box(0, 0, 3, 4), 2) == numbered()[:6, :5]).all()
    assert (crop_box(numbered(), Box(8, 9, 10, 12), 5) == numbered()[4:, 3:]).all()


def test_padded_crop_keeps_size_and_place_of_the_box():
    crop = crop_box(numbered(), Box(0, 0, 3, 4), 2, beyond="pad", fill=7)
    assert crop.shape == (8, 7)
    assert (crop[2:6, 2:5] == numbered()[:4, :3]).all()
    assert (crop[:2] == 7).all()
    assert (crop[:, :2] == 7).all()


def test_padded_crop_of_a_colour_image_is_white_outside():
    crop = crop_box(np.zeros((5, 5, 3), np.uint8), Box(3, 3, 5, 5), 3, beyond="pad")
    assert crop.shape == (8, 8, 3)
    assert (crop[5:] == 255).all()
    assert not crop[:5, :5].any()


def test_margin_larger_than_the_image_is_clipped_to_the_whole_image():
    assert (crop_box(numbered(), Box(4, 4, 5, 5), 99) == numbered()).all()


def test_crop_is_a_copy():
    pixels = numbered()
    crop_box(pixels, Box(0, 0, 5, 5))[:] = 0
    assert (pixels == numbered()).all()


@pytest.mark.parametrize(
    ("box", "margin", "words"),
    [
        (Box(5, 5, 5, 9), 0, "is empty"),
        (Box(6, 5, 5, 9), 0, "is empty"),
        (Box(10, 0, 12, 4), 0, "outside its image of 10x12"),
        (Box(-5, 0, 0, 4), 9, "outside its image"),
        (Box(0, 0, 2, 2), -1, "0 or more pixels, not -1"),
    ],
)
def test_impossible_crops_are_refused(box: Box, margin: int, words: str):
    with pytest.raises(DatasetError, match=words):
        crop_box(numbered(), box, margin)


def test_crops_of_random_boxes_match_a_slice_of_a_padded_image():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (23, 31), dtype=np.uint8)
    border = 60
    wide = np.pad(pixels, border, constant_values=255)
    for _ in range(200):
        left, top = rng.integers(-5, 30), rng.integers(-5, 22)
        right, bottom = left + rng.integers(6, 20), top + rng.integers(6, 20)
        margin = int(rng.integers(0, 12))
        crop = crop_box(pixels, Box(left, top, right, bottom), margin, beyond="pad")
        rows = slice(border + top - margin, border + bottom + margin)
        columns = slice(border + left - margin, border + right + margin)
        assert (crop == wide[rows, columns]).all()
