"""The eight views of a square image: its quarter turns, plain and mirrored.

A cell under the microscope has no upright position, so each view is as good an image of it. They
are a finite set, so features of all of them can be stored, where those of free rotations cannot.
"""

# S side in pixels

from __future__ import annotations

from typing import Final, Literal

from torch import Tensor

NUM_VIEWS: Final = 8
NumViews = Literal[1, 8]
_NUM_TURNS: Final = 4


def name_view(image: str, view: int) -> str:
    """Return the key or name of an image's view; that of view 0 is the image's own."""
    return f"{image}@{view}" if view else image


def take_view(images: Tensor, view: int) -> Tensor:
    """Return `images`, (..., S, S), mirrored left to right if `view` is 4 or more, then turned.

    Args:
        images: Of any dtype; view 0 is the images themselves.
        view: From 0 to 7; counter-clockwise by `view` % 4 quarter turns.
    """
    if view == 0:
        return images
    mirrored = images.flip(-1) if view >= _NUM_TURNS else images
    return mirrored.rot90(view % _NUM_TURNS, (-2, -1))
