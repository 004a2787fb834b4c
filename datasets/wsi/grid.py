"""Where the tiles of a slide lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.errors import DatasetError
from datasets.wsi.slide import Slide

FINEST_UPSAMPLING = 0.95
"""Asked mpp over the slide's: scanners of one name differ by some percent, so 5 % are let pass."""
MAX_TILES = 5_000_000
"""Places on one slide; at 40x the largest slides have about 400,000 of 256 pixels."""


@dataclass(frozen=True)
class Grid:
    """Square tiles in rows and columns.

    Attributes:
        level: That the tiles are read from.
        read_size: Side of a tile in pixels of that level, before it is resized to `tile_size`.
        tile_size: Side of a tile as it is stored, in pixels.
        level0_size: Side of a tile in level-0 pixels.
        mpp: Micrometres a pixel of a stored tile; None where the slide does not state its own.
        corners: Upper left corners (N, 2), x and y in level-0 pixels, row by row.
    """

    level: int
    read_size: int
    tile_size: int
    level0_size: int
    mpp: float | None
    corners: NDArray[np.int64]


def plan_grid(
    slide: Slide, *, mpp: float | None, level: int | None, tile_size: int, overlap: int
) -> Grid:
    """Return all whole tiles of the slide, from its upper left corner.

    Args:
        slide: Open.
        mpp: Micrometres a tile pixel; give this or `level`.
        level: Cut at the resolution of this level instead.
        tile_size: Side in tile pixels.
        overlap: Of neighbours, in tile pixels.

    Raises:
        DatasetError: The slide states no mpp, is coarser than `mpp`, has no such level, or is so
            large that it would have more than `MAX_TILES` places.
    """
    scale = _find_scale(slide, mpp, level)
    _require_sane(slide, tile_size * scale, (tile_size - overlap) * scale)
    source = slide.find_level(scale) if level is None else level
    level0_size = max(1, round(tile_size * scale))
    stride = max(1, round((tile_size - overlap) * scale))
    width, height = slide.size
    x, y = np.meshgrid(
        np.arange(0, width - level0_size + 1, stride),
        np.arange(0, height - level0_size + 1, stride),
    )
    return Grid(
        level=source,
        read_size=max(1, round(tile_size * scale / slide.downsamples[source])),
        tile_size=tile_size,
        level0_size=level0_size,
        mpp=slide.mpp * level0_size / tile_size if slide.mpp else None,
        corners=np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64),
    )


def _require_sane(slide: Slide, size: float, stride: float) -> None:
    width, height = slide.size
    number = max(0.0, width - size) * max(0.0, height - size) / stride**2
    if number > MAX_TILES:
        raise DatasetError(
            f"{slide.path} has {width} x {height} pixels, places for {number:.2g} tiles; at most "
            f"{MAX_TILES:.2g} are allowed. Pass a larger --tile-size or --mpp or a smaller "
            "--overlap; if the slide is not so large, its header is damaged."
        )


def _find_scale(slide: Slide, mpp: float | None, level: int | None) -> float:
    """Return the side of a tile pixel in level-0 pixels."""
    last = len(slide.downsamples) - 1
    if level is not None:
        if not 0 <= level <= last:
            raise DatasetError(f"{slide.path} has the levels 0 to {last}, not --level {level}.")
        return slide.downsamples[level]
    if slide.mpp is None or mpp is None:
        raise DatasetError(
            f"{slide.path} does not state its µm per pixel (mpp), so it cannot be cut at --mpp "
            f"{mpp}. Cut it into another --out with --level 0 (its levels: 0 to {last}) instead of "
            "--mpp, at the resolution of a level, whatever that is on the glass."
        )
    if mpp < slide.mpp * FINEST_UPSAMPLING:
        raise DatasetError(
            f"{slide.path} has {slide.mpp:.4g} µm per pixel; --mpp {mpp} is finer than that and "
            f"would invent detail. Pass --mpp {slide.mpp:.4g} or more."
        )
    return mpp / slide.mpp
