"""Gray images of more than 8 bits a pixel, brought to 8 bits by what their kind means."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_DEEPEST: Final = 65_535
_PER_LEVEL: Final = 257
"""65,535 / 255, so that black stays black and white stays white."""
_NEARLY_BLACK: Final = 4096
"""Below are files with 8 or 12 bits in 16: their white would come out as 15 of 255 or less."""


def is_deep(image: Image.Image) -> bool:
    """Return whether the image has integers of more than 8 bits, or floats."""
    return image.mode.startswith("I") or image.mode == "F"


def to_gray(image: Image.Image) -> Image.Image:
    """Return the deep image as 8-bit gray.

    Integers are 16-bit values and divided by 257, however dark the image is, so that all files of
    a set have one scale. Floats are taken as of [0, 1] if none is larger, else as 8-bit values up
    to 255, else as 16-bit values.

    Raises:
        ValueError: A value is not finite, negative or above 65,535, or the integers are so small
            that all would be nearly black: 8-bit or 12-bit values in a 16-bit file.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    low, high = values.min(), values.max()
    if low < 0 or high > _DEEPEST:
        raise ValueError(
            f"its values, of mode {image.mode}, reach from {low:g} to {high:g}; allowed are 0 to "
            f"{_DEEPEST}. Convert it to 8-bit"
        )
    if image.mode != "F" and 0 < high < _NEARLY_BLACK:
        raise ValueError(
            f"its values, of mode {image.mode}, reach from {low} to {high} and are read as 16-bit, "
            f"of which white is {_DEEPEST}, so all would be nearly black. Convert it to 8-bit"
        )
    gray = np.empty(values.shape, dtype=np.uint8)
    scale = _find_scale(image.mode, float(high))
    # Row by row: of a large image floats of all pixels would be many times its size.
    for source, target in zip(values, gray, strict=True):
        target[:] = _round(source, scale)
    return Image.fromarray(gray)


def _find_scale(mode: str, high: float) -> float:
    """Return what a value is divided by."""
    if mode != "F":
        return _PER_LEVEL
    if high <= 1:
        return 1 / 255
    return 1 if high <= 255 else _PER_LEVEL


def _round(values: NDArray[Any], scale: float) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.rint(values.astype(np.float64) / scale)
    return rounded
