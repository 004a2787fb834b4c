"""What cells are made of: body, nucleus shapes and chromatin, shared by all kinds of cell.

Distances are in cell radii, angles in radians from the cell's own axis.
"""

# S side of a square canvas in pixels

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from datasets.synthetic.canvas import (
    Canvas,
    Plane,
    draw_blob,
    draw_segment,
    paint,
    smooth_noise,
    stamp_disc,
)

NUCLEUS: Final = (0.38, 0.22, 0.52)


@dataclass(frozen=True)
class Cell:
    """Where the cell to draw lies.

    Attributes:
        size: Side S of the canvas in pixels.
        center: (x, y) in pixels.
        radius: Mean radius in pixels.
        turn: Angle of the cell's own axis.
        body: Coverage of the whole cell, (S, S), in [0, 1].
    """

    size: int
    center: tuple[float, float]
    radius: float
    turn: float
    body: Plane

    def at(self, distance: float, angle: float) -> tuple[float, float]:
        """Return the point (x, y) at `distance` and `angle` from the centre."""
        reach = distance * self.radius
        x = self.center[0] + reach * np.cos(angle + self.turn)
        y = self.center[1] + reach * np.sin(angle + self.turn)
        return float(x), float(y)


@dataclass(frozen=True)
class CellKind:
    """A kind of cell.

    Attributes:
        smallest: Smallest radius as a share of the picture's side.
        largest: Largest radius as a share of the picture's side.
        draw: Paints the cell's inside on a canvas.
        wobble: How uneven its outline is; see `draw_blob`.
    """

    smallest: float
    largest: float
    draw: Callable[[Canvas, Cell, np.random.Generator], None]
    wobble: float = 0.06


def paint_nucleus(
    canvas: Canvas,
    cell: Cell,
    shape: Plane,
    grain: float,
    depth: float,
    rng: np.random.Generator,
    colour: tuple[float, float, float] = NUCLEUS,
) -> None:
    """Paint a nucleus whose chromatin has clumps of `grain` radii and contrast `depth`."""
    clumps = smooth_noise(cell.size, grain * cell.radius, rng)[:, :, None]
    chromatin = np.asarray(colour, dtype=np.float32) * (1 + depth * clumps)
    paint(canvas, shape * cell.body, np.clip(chromatin, 0.05, 0.95))


def draw_lobes(
    cell: Cell, number: int, lobe: float, spread: float, rng: np.random.Generator
) -> Plane:
    """Return lobes of radius `lobe` set along an arc at `spread` radii, joined by strands."""
    shape = np.zeros((cell.size, cell.size), dtype=np.float32)
    gap = rng.uniform(1.0, 1.35) if number > 2 else rng.uniform(1.7, 2.4)
    points = [
        cell.at(spread * rng.uniform(0.85, 1.1), gap * (index - (number - 1) / 2))
        for index in range(number)
    ]
    for index, point in enumerate(points):
        long = lobe * cell.radius * rng.uniform(0.9, 1.2)
        radii = (long, long * rng.uniform(0.75, 0.95))
        blob = draw_blob(cell.size, point, radii, rng.uniform(0, np.pi), 0.1, rng)
        shape = np.maximum(shape, blob)
        if index:
            strand = draw_segment(cell.size, points[index - 1], point, 0.12 * cell.radius)
            shape = np.maximum(shape, strand)
    return shape


def draw_round(
    cell: Cell, fill: float, shift: float, wobble: float, rng: np.random.Generator
) -> Plane:
    """Return a round or oval nucleus of radius `fill`, `shift` off the centre."""
    radii = (fill * cell.radius, fill * cell.radius * rng.uniform(0.85, 1.0))
    center = cell.at(shift, rng.uniform(0, 2 * np.pi))
    return draw_blob(cell.size, center, radii, rng.uniform(0, np.pi), wobble, rng)


def draw_band(
    cell: Cell, arc: float, spread: float, width: float, rng: np.random.Generator
) -> Plane:
    """Return a nucleus like a bent sausage, `width` thick, along `arc` radians at `spread`."""
    shape = np.zeros((cell.size, cell.size), dtype=np.float32)
    waist, phase = rng.uniform(0.05, 0.2), rng.uniform(0, np.pi)
    for step in np.linspace(-1, 1, 41):
        thickness = width * (1 - waist * np.cos(4 * step + phase) ** 2)
        point = cell.at(spread * (1 + 0.12 * np.cos(3 * step + phase)), step * arc / 2)
        stamp_disc(shape, point, thickness / 2 * cell.radius, 1.0)
    return shape


def paint_nucleoli(
    canvas: Canvas, cell: Cell, nucleus: Plane, number: int, size: float, rng: np.random.Generator
) -> None:
    """Paint `number` pale, bluish nucleoli of radius `size` well inside the nucleus."""
    inside = np.argwhere(ndimage.gaussian_filter(nucleus, 0.15 * cell.radius) > 0.9)
    if len(inside) == 0:
        return
    coverage = np.zeros_like(nucleus)
    for y, x in inside[rng.integers(len(inside), size=number)]:
        stamp_disc(coverage, (float(x), float(y)), size * cell.radius * rng.uniform(0.8, 1.2), 1.0)
    paint(canvas, coverage * nucleus * 0.55, (0.60, 0.50, 0.76))
