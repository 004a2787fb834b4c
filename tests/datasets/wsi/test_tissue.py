"""The tissue mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.wsi.slide import Slide
from datasets.wsi.tissue import TissueMask, find_tissue, segment_tissue


def test_mask_is_the_drawn_ellipse(slide_path: Path):
    with Slide(slide_path) as slide:
        tissue = find_tissue(slide, 64)
    height, width = tissue.inside.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    truth = (x / 0.8) ** 2 + (y / 0.8) ** 2 < 1
    truth[height // 3 : height * 448 // 768, width // 4 : width // 2] = True
    assert (tissue.inside & truth).sum() / (tissue.inside | truth).sum() > 0.97


def test_fractions_are_the_share_of_the_mask_in_each_square():
    inside = np.zeros((40, 60), dtype=bool)
    inside[10:20, 10:30] = True
    mask = TissueMask(inside, Image.new("RGB", (60, 40)), (4.0, 4.0))
    corners = np.array([[40, 40], [0, 0], [80, 40], [100, 60], [200, 120]])
    assert mask.fractions(corners, 40).tolist() == [1, 0, 1, 0.25, 0]


def test_empty_glass_has_no_tissue():
    rng = np.random.default_rng(0)
    glass = rng.integers(236, 246, (200, 200, 3)).astype(np.uint8)
    assert not segment_tissue(Image.fromarray(glass)).any()


def test_black_marks_specks_and_small_gaps_are_cleaned():
    picture = np.full((200, 200, 3), 240, dtype=np.uint8)
    picture[40:120, 40:120] = (200, 120, 170)
    picture[70:73, 70:73] = 240
    picture[150:153, 150:153] = (200, 120, 170)
    picture[160:190, 20:60] = (12, 3, 8)
    inside = segment_tissue(Image.fromarray(picture))
    assert inside[45:115, 45:115].all()
    assert not inside[135:].any()
