"""One slide file: its levels, its resolution, and regions of it as RGB."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import numpy as np
import openslide
from numpy.typing import NDArray
from openslide.lowlevel import OpenSlideError
from PIL import Image, ImageColor

from datasets.errors import DatasetError

MAX_ANISOTROPY: Final = 0.05
"""Relative difference of the two axes' mpp up to which a pixel counts as square."""

_BLOCK: Final = 2048
_CACHE_BYTES: Final = 2**27
"""A row of a wide slide's own tiles, decoded: where ours straddle them, each is decoded once."""
_LEVEL_TOLERANCE: Final = 1.01
"""Levels are rounded to whole pixels, so a half is often 2.0005 times smaller."""


class Slide:
    """An open slide; positions are level-0 pixels, sizes are pixels of the level that is read.

    Attributes:
        path: The file.
        size: (width, height) of level 0.
        downsamples: Of each level, 1.0 for level 0.
        mpp: Micrometres a level-0 pixel, None where the slide does not say.
    """

    def __init__(self, path: Path) -> None:
        """Open the slide at `path`.

        Raises:
            DatasetError: There is no such file, or OpenSlide cannot open it.
        """
        if not path.is_file():
            raise DatasetError(f"No slide {path}.")
        self.path = path
        try:
            self._file = openslide.OpenSlide(path)
        except (OpenSlideError, OSError) as error:
            raise DatasetError(
                f"{path} cannot be opened as a slide ({error}). It is truncated, or no format that "
                "OpenSlide reads; a plain TIFF must be tiled."
            ) from error
        self._file.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
        with self._readable():
            self.size: tuple[int, int] = self._file.dimensions
            self.downsamples: tuple[float, ...] = self._file.level_downsamples
            self.level_sizes: tuple[tuple[int, int], ...] = self._file.level_dimensions
            properties = dict(self._file.properties)
        self.mpp = _parse_mpp(path, properties)
        self.quick_hash = properties.get(openslide.PROPERTY_NAME_QUICKHASH1, "")
        self._background = _parse_background(properties)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find_level(self, downsample: float) -> int:
        """Return the coarsest level that is no coarser than `downsample`."""
        return max(
            level
            for level, own in enumerate(self.downsamples)
            if level == 0 or own <= downsample * _LEVEL_TOLERANCE
        )

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Image.Image:
        """Return a region in RGB; where nothing was scanned, the slide's background colour.

        Args:
            x: Left edge in level-0 pixels.
            y: Upper edge in level-0 pixels.
            level: That is read.
            width: In pixels of `level`.
            height: In pixels of `level`.

        Raises:
            DatasetError: The file is damaged there.
        """
        return self._read_opaque(x, y, level, (width, height)).convert("RGB")

    def read_bytes(self, x: int, y: int, level: int, side: int) -> bytes:
        """Return a square region as `read` does, but as bytes: RGB, row by row.

        Raises:
            DatasetError: The file is damaged there.
        """
        # One copy from RGBA; through an RGB image there would be two.
        return self._read_opaque(x, y, level, (side, side)).tobytes("raw", "RGB")

    def read_whole(self, max_downsample: float, max_pixels: int) -> Image.Image:
        """Return the whole slide in RGB, shrunk by at most `max_downsample`.

        It is shrunk more where it would have more than `max_pixels`. It is read in blocks, so that
        a slide without a pyramid needs no more memory than others.

        Raises:
            DatasetError: The file is damaged.
        """
        width, height = self.size
        least = math.sqrt(width * height / max_pixels)
        level = self.find_level(max(1.0, max_downsample, least))
        level_width, level_height = self.level_sizes[level]
        own = self.downsamples[level]
        factor = max(1, int(max_downsample / own + 1e-6), math.ceil(least / own - 1e-6))
        whole = Image.new("RGB", (-(-level_width // factor), -(-level_height // factor)))
        side = _BLOCK // factor * factor or factor
        for top in range(0, level_height, side):
            for left in range(0, level_width, side):
                x, y = (round(edge * self.downsamples[level]) for edge in (left, top))
                size = (min(side, level_width - left), min(side, level_height - top))
                block = self.read(x, y, level, *size)
                whole.paste(block.reduce(factor), (left // factor, top // factor))
        return whole

    def _read_opaque(self, x: int, y: int, level: int, size: tuple[int, int]) -> Image.Image:
        """Return a region in RGBA without transparent pixels."""
        with self._readable():
            region = self._file.read_region((x, y), level, size)
        alpha = np.frombuffer(region.tobytes("raw", "A"), dtype=np.uint8)
        if alpha.min() == 255:
            return region
        return Image.alpha_composite(Image.new("RGBA", size, self._background), region)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OpenSlideError as error:
            raise DatasetError(
                f"{self.path} is damaged: {error}. Copy it again from its source."
            ) from error


def read_and_drop(path: Path, level: int, side: int, corners: NDArray[np.int64]) -> None:
    """Read square regions and keep nothing: the least that any tiling costs, for benchmarks.

    Args:
        path: Of the slide.
        level: That is read.
        side: Of a region in pixels of `level`.
        corners: (N, 2), x and y of the upper left corners in level-0 pixels.
    """
    with openslide.OpenSlide(path) as slide:
        for x, y in corners.tolist():
            slide.read_region((x, y), level, (side, side))


def _parse_background(properties: dict[str, str]) -> tuple[int, ...]:
    """Return the colour of what was not scanned, white where the slide does not say."""
    try:
        text = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
        return ImageColor.getrgb(f"#{text}")[:3]
    except ValueError:
        return (255, 255, 255)


def _parse_mpp(path: Path, properties: dict[str, str]) -> float | None:
    """Return the mean of the axes' mpp; what is no positive number counts as not stated.

    Raises:
        DatasetError: The axes differ, so that a square tile would not be square on the glass.
    """
    names = (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
    try:
        x, y = (float(properties[name]) for name in names)
    except (KeyError, ValueError):
        return None
    if not (0 < x < math.inf and 0 < y < math.inf):
        return None
    if abs(x - y) > MAX_ANISOTROPY * max(x, y):
        raise DatasetError(
            f"{path} has pixels of {x} x {y} µm; only square ones can be cut into square tiles. "
            "Convert it to square pixels first."
        )
    return (x + y) / 2
