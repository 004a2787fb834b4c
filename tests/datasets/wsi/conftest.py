"""Small slides, made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.synthetic.slides import draw_slide, write_slide


@pytest.fixture
def pixels() -> np.ndarray:
    """Level 0 of the slide: tissue with a violet lesion at (256, 256) to (512, 448)."""
    return draw_slide(768, 1024, np.random.default_rng(0), lesion=(256, 256, 512, 448))


@pytest.fixture
def slide_path(tmp_path: Path, pixels: np.ndarray) -> Path:
    """A slide of 1024 x 768 pixels at 0.5 mpp with levels 1, 1/2 and 1/4."""
    path = tmp_path / "slides" / "tumor_001.tif"
    write_slide(path, pixels)
    return path
