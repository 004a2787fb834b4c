"""Where tissue is on a slide: saturated colour, by Otsu's threshold, cleaned of specks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from datasets.otsu import find_otsu_threshold
from datasets.wsi.slide import Slide

MASK_PIXELS_PER_TILE: Final = 16
"""Mask pixels along a tile's side, where the slide is small enough for them."""
MAX_MASK_PIXELS: Final = 8_000_000
OVERVIEW_SIDE: Final = 1024
"""Longest side of a slide's picture for people; the mask of a small slide is no coarser.

A power of two, as levels and the sides of many slides are: a side just short of a level's would
have the mask made on the next finer level, of four times the pixels.
"""

_MIN_SATURATION: Final = 0.06
"""Of 1. On an empty slide Otsu would divide the noise of the glass; stained tissue is above."""
_DARKEST: Final = 0.2
"""Of 1. Pen, rulers and the slide's edge are black, where saturation means nothing."""
_SMOOTHING: Final = 1.5
_SMALLEST_PIECE: Final = 64
_LARGEST_GAP: Final = 64


@dataclass(frozen=True)
class TissueMask:
    """The tissue of a slide at low resolution.

    Attributes:
        inside: (H, W), True on tissue.
        thumbnail: The picture that it was found on, RGB of the same size.
        scale: (x, y), level-0 pixels a mask pixel.
    """

    inside: NDArray[np.bool_]
    thumbnail: Image.Image
    scale: tuple[float, float]

    def fractions(self, corners: NDArray[np.int64], level0_size: int) -> NDArray[np.float64]:
        """Return the share of tissue, in [0, 1], in each square.

        Args:
            corners: (N, 2), x and y of the upper left corners in level-0 pixels.
            level0_size: Side of the squares in level-0 pixels.
        """
        height, width = self.inside.shape
        sums = np.zeros((height + 1, width + 1), dtype=np.int64)
        sums[1:, 1:] = self.inside.cumsum(axis=0).cumsum(axis=1)
        left, right = _to_mask(corners[:, 0], level0_size, self.scale[0], width)
        top, bottom = _to_mask(corners[:, 1], level0_size, self.scale[1], height)
        area = (right - left) * (bottom - top)
        tissue = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        fraction: NDArray[np.float64] = tissue / area
        return fraction


def find_tissue(slide: Slide, level0_size: int) -> TissueMask:
    """Return the tissue of `slide`, fine enough for squares of `level0_size` level-0 pixels.

    Raises:
        DatasetError: The slide is damaged.
    """
    downsample = min(level0_size / MASK_PIXELS_PER_TILE, max(slide.size) / OVERVIEW_SIDE)
    thumbnail = slide.read_whole(downsample, MAX_MASK_PIXELS)
    scale = (slide.size[0] / thumbnail.width, slide.size[1] / thumbnail.height)
    return TissueMask(segment_tissue(thumbnail), thumbnail, scale)


def segment_tissue(image: Image.Image) -> NDArray[np.bool_]:
    """Return (H, W), True where the RGB `image` shows tissue.

    Pieces and holes of less than 64 pixels are dropped and filled.
    """
    hsv = np.asarray(image.convert("HSV"))
    saturation = ndimage.gaussian_filter(hsv[:, :, 1], _SMOOTHING)
    is_light = hsv[:, :, 2] > 255 * _DARKEST
    threshold = max(find_otsu_threshold(saturation[is_light]), int(255 * _MIN_SATURATION))
    inside = (saturation > threshold) & is_light
    inside = _drop_small(inside, _SMALLEST_PIECE)
    return ~_drop_small(~inside, _LARGEST_GAP)


def _drop_small(mask: NDArray[np.bool_], smallest: int) -> NDArray[np.bool_]:
    pieces, _ = ndimage.label(mask)
    is_kept = np.bincount(pieces.ravel()) >= smallest
    is_kept[0] = False
    kept: NDArray[np.bool_] = is_kept[pieces]
    return kept


def _to_mask(
    starts: NDArray[np.int64], level0_size: int, scale: float, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and past-the-last mask pixel of each span, at least one pixel."""
    first = np.clip(np.round(starts / scale).astype(np.int64), 0, length - 1)
    last = np.round((starts + level0_size) / scale).astype(np.int64)
    return first, np.clip(last, first + 1, length)
