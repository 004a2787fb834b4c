"""Synthetic photographs of a smear: many red cells, some platelets and one white cell.

Outlines, pallor, overlaps and refractile rings differ from photograph to photograph, so that its
copies can be told by their pixels, as those of real photographs can.
"""

# W width of the photograph in pixels, H = 3 W / 4 its height, S side of a square window

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.anatomy import Cell
from datasets.synthetic.canvas import (
    Canvas,
    Microscope,
    Plane,
    develop,
    draw_blob,
    paint,
    stamp_disc,
)
from datasets.synthetic.cells import CELL_KINDS

SMEAR_MICROSCOPE: Final = Microscope(stain=(1.0, 1.05, 0.65), light=(0.97, 1.0, 1.0))

_PLASMA: Final = (0.88, 0.89, 0.87)
_RED_CELLS: Final = ((0.80, 0.59, 0.47), (0.84, 0.66, 0.57))
_STAIN_SPREAD: Final = 0.15
_CELL_SHARE: Final = 0.45
"""Radius of a white cell as a share of W, by that share of a picture of it alone."""

Point = tuple[float, float]


def draw_photograph(label: str, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a photograph (H, W, 3) with one white cell of kind `label`.

    Its centre lies in the middle 40 % of each side, so that a copy, shifted by up to a fifth, still
    shows some of it.
    """
    height = width * 3 // 4
    margin = width // 3
    side = width + 2 * margin
    canvas = np.empty((side, side, 3), dtype=np.float32)
    canvas[:] = _PLASMA
    kind = CELL_KINDS[label]
    radius = rng.uniform(kind.smallest, kind.largest) * _CELL_SHARE * width
    center = (side / 2 + rng.uniform(-0.2, 0.2) * width, side / 2 + rng.uniform(-0.2, 0.2) * height)
    for _ in range(rng.integers(24, 44)):
        reach = 0.13 * width
        at = (
            rng.uniform(margin - reach, side - margin + reach),
            rng.uniform((side - height) / 2 - reach, (side + height) / 2 + reach),
        )
        red_radius = rng.uniform(0.07, 0.10) * width
        if np.hypot(at[0] - center[0], at[1] - center[1]) > radius + 0.6 * red_radius:
            _add_red_cell(canvas, at, red_radius, rng)
    for _ in range(rng.integers(3, 9)):
        at = (rng.uniform(margin, side - margin), rng.uniform(0, height) + (side - height) / 2)
        _add_cell(canvas, "platelet", at, rng.uniform(0.014, 0.026) * width, rng)
    _add_cell(canvas, label, center, radius, rng)
    inside = canvas[margin : side - margin, margin : side - margin]
    picture = develop(inside, _STAIN_SPREAD, rng, SMEAR_MICROSCOPE)
    top = (width - height) // 2
    return picture[top : top + height]


def _add_cell(
    canvas: Canvas, label: str, center: Point, radius: float, rng: np.random.Generator
) -> None:
    window, local = _open_window(canvas, center, 1.5 * radius + 3)
    kind = CELL_KINDS[label]
    turn = rng.uniform(0, 2 * np.pi)
    stretch = rng.uniform(0.85, 1.15)
    radii = (radius * stretch, radius / stretch)
    body = draw_blob(len(window), local, radii, turn, 1.3 * kind.wobble, rng)
    kind.draw(window, Cell(len(window), local, radius, turn, body), rng)


def _add_red_cell(canvas: Canvas, center: Point, radius: float, rng: np.random.Generator) -> None:
    window, local = _open_window(canvas, center, 1.5 * radius + 3)
    size = len(window)
    turn = rng.uniform(0, np.pi)
    radii = (radius, radius * rng.uniform(0.75, 1))
    disc = draw_blob(size, local, radii, turn, rng.uniform(0.04, 0.14), rng)
    pale = rng.uniform(0.35, 0.65) * radius
    offset = rng.normal(0, 0.08, size=2) * radius
    middle = (local[0] + offset[0], local[1] + offset[1])
    pallor = draw_blob(size, middle, (pale, pale * rng.uniform(0.7, 1)), turn, 0.15, rng)
    share = rng.uniform()
    colour = [low + share * (high - low) for low, high in zip(*_RED_CELLS, strict=True)]
    paint(window, disc * (0.8 - rng.uniform(0.1, 0.5) * pallor), colour)
    if rng.random() < 0.3:
        _add_rings(window, disc, radius, rng)


def _add_rings(window: Canvas, disc: Plane, radius: float, rng: np.random.Generator) -> None:
    """Paint bright specks with a dark rim: drying leaves such refractile rings in red cells."""
    inside = np.argwhere(disc > 0.6)
    dark, bright = np.zeros_like(disc), np.zeros_like(disc)
    for y, x in inside[rng.integers(len(inside), size=int(rng.integers(1, 4)))]:
        ring = rng.uniform(0.07, 0.13) * radius
        stamp_disc(dark, (float(x), float(y)), ring, 0.6)
        stamp_disc(bright, (float(x), float(y)), 0.5 * ring, 0.8)
    paint(window, dark, (0.45, 0.28, 0.32))
    paint(window, bright, (0.97, 0.95, 0.95))


def _open_window(canvas: Canvas, center: Point, reach: float) -> tuple[Canvas, Point]:
    """Return the square view (S, S, 3) of `canvas` about `center`, and `center` within it.

    Painting a cell costs as much as its window then, not as the whole photograph.
    """
    half = min(int(reach) + 1, len(canvas) // 2)
    left, top = (min(max(0, int(at) - half), len(canvas) - 2 * half) for at in center)
    window = canvas[top : top + 2 * half, left : left + 2 * half]
    return window, (center[0] - left, center[1] - top)
