"""Synthetic white blood cells in a Giemsa-stained smear, with their masks.

The five classes differ in what a hematologist looks at: number of nuclear lobes, granules, size,
chromatin and colour of the cytoplasm. Position, turn, size, stain, light, focus and the red cells
around them vary for all classes alike, so the mean colour of a picture tells little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.canvas import (
    Canvas,
    Plane,
    develop,
    draw_blob,
    draw_granules,
    draw_segment,
    paint,
    smooth_noise,
)

_PLASMA: Final = (0.93, 0.91, 0.87)
_RED_CELL: Final = (0.86, 0.66, 0.63)
_NUCLEUS: Final = (0.38, 0.22, 0.52)
_STAIN_SPREAD: Final = 0.25


@dataclass(frozen=True)
class _Cell:
    """Where the cell to draw lies: side of the canvas, centre, mean radius, body coverage."""

    size: int
    center: tuple[float, float]
    radius: float
    turn: float
    body: Plane

    def at(self, distance: float, angle: float) -> tuple[float, float]:
        """Return the point at `distance` (in cell radii) and `angle` from the centre."""
        reach = distance * self.radius
        x = self.center[0] + reach * np.cos(angle + self.turn)
        y = self.center[1] + reach * np.sin(angle + self.turn)
        return float(x), float(y)


def draw_cell(
    label: str, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture of one cell of class `label`, uint8 (S, S, 3), and its mask (S, S).

    The mask is 255 on the white cell and 0 elsewhere. `size` is S in pixels.
    """
    low, high, draw = _CELL_KINDS[label]
    canvas = _draw_smear(size, rng)
    center = (size / 2 + rng.normal(0, 0.06) * size, size / 2 + rng.normal(0, 0.06) * size)
    radius = rng.uniform(low, high) * size
    turn = rng.uniform(0, 2 * np.pi)
    stretch = rng.uniform(0.9, 1.1)
    body = draw_blob(size, center, (radius * stretch, radius / stretch), turn, 0.06, rng)
    draw(canvas, _Cell(size, center, radius, turn, body), rng)
    return develop(canvas, _STAIN_SPREAD, rng), ((body > 0.5) * 255).astype(np.uint8)


def _draw_smear(size: int, rng: np.random.Generator) -> Canvas:
    canvas = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = _PLASMA
    for _ in range(rng.integers(4, 14)):
        center = (rng.uniform(0, size), rng.uniform(0, size))
        radius = rng.uniform(0.14, 0.18) * size
        turn = rng.uniform(0, np.pi)
        disc = draw_blob(size, center, (radius, radius * rng.uniform(0.85, 1)), turn, 0.04, rng)
        pallor = draw_blob(size, center, (radius * 0.6, radius * 0.5), turn, 0.1, rng)
        paint(canvas, disc * (0.75 - 0.3 * pallor), _RED_CELL)
    return canvas


def _paint_nucleus(
    canvas: Canvas, cell: _Cell, shape: Plane, grain: float, depth: float, rng: np.random.Generator
) -> None:
    """Paint a nucleus whose chromatin has clumps of `grain` radii and contrast `depth`."""
    clumps = smooth_noise(cell.size, grain * cell.radius, rng)[:, :, None]
    colour = np.asarray(_NUCLEUS, dtype=np.float32) * (1 + depth * clumps)
    paint(canvas, shape * cell.body, np.clip(colour, 0.05, 0.95))


def _lobes(cell: _Cell, number: int, lobe: float, spread: float, rng: np.random.Generator) -> Plane:
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


def _draw_neutrophil(canvas: Canvas, cell: _Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.88, 0.78, 0.82))
    dust = draw_granules(cell.size, cell.body, 160, (0.5, 1.2), rng)
    paint(canvas, dust * 0.35, (0.74, 0.58, 0.72))
    shape = _lobes(cell, int(rng.integers(3, 6)), 0.32, 0.45, rng)
    _paint_nucleus(canvas, cell, shape, 0.07, 0.18, rng)


def _draw_eosinophil(canvas: Canvas, cell: _Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.88, 0.74, 0.76))
    shape = _lobes(cell, 2 if rng.random() < 0.85 else 3, 0.38, 0.42, rng)
    _paint_nucleus(canvas, cell, shape, 0.08, 0.15, rng)
    coarse = (0.045 * cell.radius, 0.075 * cell.radius)
    granules = draw_granules(cell.size, cell.body * (1 - shape), 190, coarse, rng)
    paint(canvas, granules * cell.body * 0.8, (0.84, 0.50, 0.42))


def _draw_basophil(canvas: Canvas, cell: _Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.82, 0.72, 0.82))
    shape = _lobes(cell, 2, 0.46, 0.28, rng)
    _paint_nucleus(canvas, cell, shape * 0.8, 0.2, 0.1, rng)
    coarse = (0.05 * cell.radius, 0.1 * cell.radius)
    granules = draw_granules(cell.size, cell.body, int(rng.integers(55, 110)), coarse, rng)
    paint(canvas, granules * cell.body * 0.9, (0.27, 0.14, 0.40))


def _draw_lymphocyte(canvas: Canvas, cell: _Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.66, 0.76, 0.90))
    fill = rng.uniform(0.76, 0.92)
    radii = (fill * cell.radius, fill * cell.radius * rng.uniform(0.9, 1.0))
    nucleus = draw_blob(cell.size, cell.at(0.06, 0.0), radii, cell.turn, 0.05, rng)
    _paint_nucleus(canvas, cell, nucleus, 0.16, 0.14, rng)


def _draw_monocyte(canvas: Canvas, cell: _Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.72, 0.73, 0.83))
    radii = (0.66 * cell.radius, 0.60 * cell.radius)
    kidney = draw_blob(cell.size, cell.at(0.12, np.pi), radii, cell.turn, 0.1, rng)
    deep = rng.uniform(0.26, 0.42) * cell.radius
    notch = draw_blob(cell.size, cell.at(0.48, 0.0), (deep, deep), 0.0, 0.1, rng)
    _paint_nucleus(canvas, cell, kidney * (1 - notch), 0.05, 0.22, rng)
    free = cell.body * (1 - kidney)
    holes = (0.04 * cell.radius, 0.08 * cell.radius)
    vacuoles = draw_granules(cell.size, free, int(rng.integers(0, 9)), holes, rng)
    paint(canvas, vacuoles * 0.7, (0.90, 0.89, 0.92))


_Draw = Callable[[Canvas, _Cell, np.random.Generator], None]
_CELL_KINDS: Final[dict[str, tuple[float, float, _Draw]]] = {
    "basophil": (0.21, 0.29, _draw_basophil),
    "eosinophil": (0.23, 0.32, _draw_eosinophil),
    "lymphocyte": (0.16, 0.27, _draw_lymphocyte),
    "monocyte": (0.26, 0.36, _draw_monocyte),
    "neutrophil": (0.22, 0.31, _draw_neutrophil),
}
"""Smallest and largest radius as a share of the picture's side, and how the class is drawn."""
