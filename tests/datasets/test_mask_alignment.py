"""Alignment of masks: drawn cells, and the published masks of real ones."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from datasets.cell_masks import read_regions
from datasets.errors import DatasetError
from datasets.images import read_image
from datasets.mask_alignment import check_alignment

SIZE = 80
GROUND, PURPLE = (235, 225, 170), (90, 30, 120)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


@pytest.fixture
def cell() -> np.ndarray:
    noise = np.random.default_rng(0).integers(-8, 9, (SIZE, SIZE, 3))
    pixels = np.where(disc(40, 40, 20)[:, :, None], PURPLE, GROUND)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def test_mask_on_its_cell_is_not_suspicious(cell):
    found = check_alignment(cell, disc(40, 40, 20))
    assert not found.is_suspicious
    assert found.coverage == pytest.approx(1)
    assert found.mask_fraction == pytest.approx(math.pi * 20**2 / SIZE**2, rel=0.02)


def test_coverage_of_a_half_mask_is_a_half(cell):
    left_half = disc(40, 40, 20) & (np.arange(SIZE) < 40)
    assert check_alignment(cell, left_half).coverage == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("shift", [12, 20, 40])
def test_shifted_mask_is_suspicious(cell, shift: int):
    found = check_alignment(cell, np.roll(disc(40, 40, 20), shift, axis=1))
    assert found.is_suspicious
    assert "dark pixels lie in the mask" in found.problem


def test_inverted_empty_and_full_masks_are_suspicious(cell):
    mask = disc(40, 40, 20)
    assert check_alignment(cell, ~mask).is_suspicious
    assert check_alignment(cell, np.zeros_like(mask)).problem == "the mask is empty"
    full = check_alignment(cell, np.ones_like(mask))
    assert full.problem == "the mask covers the whole image"


def test_image_of_one_gray_has_nothing_to_lie_on():
    found = check_alignment(np.full((SIZE, SIZE, 3), 128, np.uint8), disc(40, 40, 20))
    assert found.is_suspicious
    assert math.isnan(found.coverage)


def test_gray_image_is_checked_like_a_coloured_one(cell):
    gray = np.repeat(cell[:, :, 1:2], 3, axis=2)
    assert not check_alignment(gray, disc(40, 40, 20)).is_suspicious
    assert check_alignment(gray, disc(40, 70, 20)).is_suspicious


def test_saturated_ground_does_not_count_as_cell():
    pixels = np.where(disc(40, 40, 20)[:, :, None], (110, 100, 120), (255, 255, 40))
    assert not check_alignment(pixels.astype(np.uint8), disc(40, 40, 20)).is_suspicious


def test_mask_of_another_shape_is_refused(cell):
    with pytest.raises(DatasetError, match="79x80 pixels, its image 80x80"):
        check_alignment(cell, np.ones((SIZE, SIZE - 1), dtype=bool))


def test_published_masks_lie_on_their_cells_and_shifted_ones_do_not():
    """The figures that `MIN_COVERAGE` states."""
    root = os.environ.get("LEUKOFUSE_REAL_DATA")
    folder = Path(root or "") / "segmentation_wbc" / "Dataset 1"
    if root is None or not folder.is_dir():
        pytest.skip("LEUKOFUSE_REAL_DATA names no folder with segmentation_wbc")
    pairs = []
    for path in sorted(folder.glob("*.bmp")):
        image = read_image(path)
        mask = read_regions(path.with_suffix(".png"), image.size).inside
        pairs.append((np.asarray(image), mask))

    def count(rows: int, columns: int) -> int:
        return sum(
            check_alignment(
                image,
                np.roll(
                    mask, (rows * (mask.shape[0] // 8), columns * (mask.shape[1] // 8)), (0, 1)
                ),
            ).is_suspicious
            for image, mask in pairs
        )

    assert len(pairs) == 300
    assert count(0, 0) == 2
    quarter = [count(0, 2), count(0, -2), count(2, 0), count(-2, 0)]
    assert sum(quarter) / (4 * len(pairs)) == pytest.approx(0.99, abs=0.005)
    eighth = [count(0, 1), count(0, -1), count(1, 0), count(-1, 0)]
    assert sum(eighth) / (4 * len(pairs)) == pytest.approx(0.39, abs=0.005)


def test_darkest_level_itself_counts_as_dark():
    pixels = np.full((4, 4, 3), 200, np.uint8)
    pixels[0, 0] = 20
    inside = np.zeros((4, 4), dtype=bool)
    inside[0, :2] = True
    assert check_alignment(pixels, inside).coverage == 1
