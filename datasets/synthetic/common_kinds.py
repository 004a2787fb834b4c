"""The five classes of white blood cell that all sets share."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import numpy as np

from datasets.synthetic.anatomy import Cell, CellKind, draw_lobes, paint_nucleus
from datasets.synthetic.canvas import Canvas, draw_blob, draw_granules, paint


def _draw_neutrophil(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.88, 0.78, 0.82))
    dust = draw_granules(cell.size, cell.body, 160, (0.5, 1.2), rng)
    paint(canvas, dust * 0.35, (0.74, 0.58, 0.72))
    shape = draw_lobes(cell, int(rng.integers(3, 6)), 0.32, 0.45, rng)
    paint_nucleus(canvas, cell, shape, 0.07, 0.18, rng)


def _draw_eosinophil(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.88, 0.74, 0.76))
    shape = draw_lobes(cell, 2 if rng.random() < 0.85 else 3, 0.38, 0.42, rng)
    paint_nucleus(canvas, cell, shape, 0.08, 0.15, rng)
    coarse = (0.045 * cell.radius, 0.075 * cell.radius)
    granules = draw_granules(cell.size, cell.body * (1 - shape), 190, coarse, rng)
    paint(canvas, granules * cell.body * 0.8, (0.84, 0.50, 0.42))


def _draw_basophil(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.82, 0.72, 0.82))
    shape = draw_lobes(cell, 2, 0.46, 0.28, rng)
    paint_nucleus(canvas, cell, shape * 0.8, 0.2, 0.1, rng)
    coarse = (0.05 * cell.radius, 0.1 * cell.radius)
    granules = draw_granules(cell.size, cell.body, int(rng.integers(55, 110)), coarse, rng)
    paint(canvas, granules * cell.body * 0.9, (0.27, 0.14, 0.40))


def _draw_lymphocyte(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.66, 0.76, 0.90))
    fill = rng.uniform(0.76, 0.92)
    radii = (fill * cell.radius, fill * cell.radius * rng.uniform(0.9, 1.0))
    nucleus = draw_blob(cell.size, cell.at(0.06, 0.0), radii, cell.turn, 0.05, rng)
    paint_nucleus(canvas, cell, nucleus, 0.16, 0.14, rng)


def _draw_monocyte(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.72, 0.73, 0.83))
    radii = (0.66 * cell.radius, 0.60 * cell.radius)
    kidney = draw_blob(cell.size, cell.at(0.12, np.pi), radii, cell.turn, 0.1, rng)
    deep = rng.uniform(0.26, 0.42) * cell.radius
    notch = draw_blob(cell.size, cell.at(0.48, 0.0), (deep, deep), 0.0, 0.1, rng)
    paint_nucleus(canvas, cell, kidney * (1 - notch), 0.05, 0.22, rng)
    free = cell.body * (1 - kidney)
    holes = (0.04 * cell.radius, 0.08 * cell.radius)
    vacuoles = draw_granules(cell.size, free, int(rng.integers(0, 9)), holes, rng)
    paint(canvas, vacuoles * 0.7, (0.90, 0.89, 0.92))


COMMON_KINDS: Final = MappingProxyType(
    {
        "basophil": CellKind(0.21, 0.29, _draw_basophil),
        "eosinophil": CellKind(0.23, 0.32, _draw_eosinophil),
        "lymphocyte": CellKind(0.16, 0.27, _draw_lymphocyte),
        "monocyte": CellKind(0.26, 0.36, _draw_monocyte),
        "neutrophil": CellKind(0.22, 0.31, _draw_neutrophil),
    }
)
