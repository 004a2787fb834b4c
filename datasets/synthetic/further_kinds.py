"""Further kinds of cell that single sets have: precursors, blasts, band forms, platelets.

Size, nucleus, chromatin, nucleoli, granules and cytoplasm follow the textbook; neighbours in
maturation (promyelocyte, myelocyte, metamyelocyte, band, segmented) shade into each other.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import numpy as np
from scipy import ndimage

from datasets.synthetic.anatomy import (
    Cell,
    CellKind,
    draw_band,
    draw_round,
    paint_nucleoli,
    paint_nucleus,
)
from datasets.synthetic.canvas import (
    Canvas,
    Plane,
    draw_blob,
    draw_granules,
    draw_segment,
    paint,
    smooth_noise,
)

_PINK: Final = (0.87, 0.77, 0.82)
_AZUROPHIL: Final = (0.52, 0.22, 0.50)
_YOUNG_NUCLEUS: Final = (0.46, 0.27, 0.58)
_DENSE_NUCLEUS: Final = (0.27, 0.15, 0.42)


def _paint_dust(canvas: Canvas, cell: Cell, number: int, rng: np.random.Generator) -> None:
    """Paint the fine lilac granules of the neutrophil line."""
    dust = draw_granules(cell.size, cell.body, number, (0.5, 1.2), rng)
    paint(canvas, dust * cell.body * 0.35, (0.72, 0.55, 0.71))


def _paint_azurophil(
    canvas: Canvas, cell: Cell, where: Plane, number: int, rng: np.random.Generator
) -> None:
    """Paint the red-violet granules of a promyelocyte."""
    coarse = (0.025 * cell.radius, 0.05 * cell.radius)
    granules = draw_granules(cell.size, where, number, coarse, rng)
    paint(canvas, granules * cell.body * 0.75, _AZUROPHIL)


def _draw_neutrophil_band(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.88, 0.78, 0.82))
    _paint_dust(canvas, cell, 160, rng)
    shape = draw_band(cell, rng.uniform(2.6, 4.4), 0.46, rng.uniform(0.40, 0.52), rng)
    paint_nucleus(canvas, cell, shape, 0.07, 0.18, rng)


def _draw_metamyelocyte(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, _PINK)
    _paint_dust(canvas, cell, 170, rng)
    radii = (0.50 * cell.radius, 0.64 * cell.radius)
    bean = draw_blob(cell.size, cell.at(0.18, np.pi), radii, cell.turn, 0.05, rng)
    dent = rng.uniform(0.26, 0.40) * cell.radius
    notch = draw_blob(cell.size, cell.at(0.52, 0.0), (dent, dent), 0.0, 0.1, rng)
    paint_nucleus(canvas, cell, bean * (1 - notch), 0.08, 0.16, rng)


def _draw_myelocyte(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.82, 0.74, 0.83))
    nucleus = draw_round(cell, rng.uniform(0.52, 0.62), 0.26, 0.05, rng)
    paint_nucleus(canvas, cell, nucleus, 0.09, 0.16, rng)
    _paint_dust(canvas, cell, 140, rng)
    _paint_azurophil(canvas, cell, cell.body * (1 - nucleus), int(rng.integers(10, 35)), rng)


def _draw_promyelocyte(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.70, 0.68, 0.84))
    nucleus = draw_round(cell, rng.uniform(0.64, 0.74), 0.18, 0.05, rng)
    paint_nucleus(canvas, cell, nucleus, 0.06, 0.10, rng, _YOUNG_NUCLEUS)
    paint_nucleoli(canvas, cell, nucleus, int(rng.integers(1, 3)), 0.12, rng)
    _paint_azurophil(canvas, cell, cell.body, int(rng.integers(70, 150)), rng)


def _draw_promyelocyte_bilobed(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.74, 0.66, 0.82))
    shape = np.zeros((cell.size, cell.size), dtype=np.float32)
    lobe = rng.uniform(0.42, 0.50) * cell.radius
    for side in (-1, 1):
        center = cell.at(rng.uniform(0.36, 0.46), side * np.pi / 2)
        radii = (lobe, lobe * rng.uniform(0.8, 0.95))
        blob = draw_blob(cell.size, center, radii, cell.turn, 0.08, rng)
        shape = np.maximum(shape, blob)
    bridge = draw_segment(
        cell.size, cell.at(0.4, -np.pi / 2), cell.at(0.4, np.pi / 2), 0.35 * cell.radius
    )
    shape = np.maximum(shape, bridge)
    paint_nucleus(canvas, cell, shape, 0.06, 0.10, rng, _YOUNG_NUCLEUS)
    _paint_azurophil(canvas, cell, cell.body, int(rng.integers(120, 220)), rng)


def _draw_myeloblast(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.64, 0.70, 0.88))
    nucleus = draw_round(cell, rng.uniform(0.78, 0.88), 0.08, 0.06, rng)
    paint_nucleus(canvas, cell, nucleus, 0.03, 0.07, rng, _YOUNG_NUCLEUS)
    paint_nucleoli(canvas, cell, nucleus, int(rng.integers(2, 5)), 0.13, rng)
    if rng.random() < 0.2:  # An Auer rod, where there is one, decides the lineage.
        angle = rng.uniform(0, 2 * np.pi)
        start, end = cell.at(0.86, angle), cell.at(0.80, angle + rng.uniform(0.4, 0.7))
        rod = draw_segment(cell.size, start, end, 0.05 * cell.radius + 0.5)
        paint(canvas, rod * cell.body * 0.8, (0.62, 0.20, 0.42))


def _draw_monoblast(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.62, 0.64, 0.80))
    nucleus = draw_round(cell, rng.uniform(0.62, 0.72), 0.14, 0.10, rng)
    paint_nucleus(canvas, cell, nucleus, 0.03, 0.08, rng, _YOUNG_NUCLEUS)
    paint_nucleoli(canvas, cell, nucleus, 1, 0.20, rng)
    dust = draw_granules(cell.size, cell.body * (1 - nucleus), 25, (0.5, 1.0), rng)
    paint(canvas, dust * 0.4, _AZUROPHIL)


def _draw_erythroblast(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    # From blue-gray to the red cell's pink, as hemoglobin fills it.
    age = rng.uniform(0, 1)
    young, old = np.array((0.62, 0.63, 0.76)), np.array((0.82, 0.66, 0.68))
    paint(canvas, cell.body, young + age * (old - young))
    nucleus = draw_round(cell, rng.uniform(0.52, 0.72) - 0.08 * age, 0.12, 0.03, rng)
    paint_nucleus(canvas, cell, nucleus, 0.10, 0.25, rng, _DENSE_NUCLEUS)


def _draw_atypical_lymphocyte(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    paint(canvas, cell.body, (0.71, 0.76, 0.88))
    rim = np.clip(cell.body - ndimage.gaussian_filter(cell.body, 0.22 * cell.radius), 0, 1)
    paint(canvas, np.minimum(rim * 1.5, 1), (0.48, 0.56, 0.80))
    nucleus = draw_round(cell, rng.uniform(0.52, 0.64), 0.24, 0.16, rng)
    paint_nucleus(canvas, cell, nucleus, 0.12, 0.14, rng)


def _draw_smudge(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    # A crushed nucleus: no cytoplasm, no outline, chromatin drawn out into streaks.
    ragged = cell.body * (0.75 + 0.35 * smooth_noise(cell.size, 0.12 * cell.radius, rng))
    for _ in range(int(rng.integers(5, 11))):
        angle = rng.uniform(0, 2 * np.pi)
        start = cell.at(rng.uniform(0.1, 0.6), angle)
        end = cell.at(rng.uniform(1.0, 1.5), angle + rng.normal(0, 0.3))
        streak = draw_segment(cell.size, start, end, rng.uniform(0.08, 0.25) * cell.radius)
        ragged = np.maximum(ragged, streak * 0.55)
    smeared = ndimage.gaussian_filter(np.clip(ragged, 0, 1), 0.09 * cell.radius)
    paint(canvas, smeared.astype(np.float32) * 0.85, (0.58, 0.38, 0.66))


def _draw_platelet(canvas: Canvas, cell: Cell, rng: np.random.Generator) -> None:
    _paint_platelet(canvas, cell.size, cell.body, cell.radius, rng)
    if rng.random() < 0.35:  # They clump.
        for _ in range(int(rng.integers(1, 4))):
            small = cell.radius * rng.uniform(0.5, 0.9)
            center = cell.at(rng.uniform(1.3, 2.0), rng.uniform(0, 2 * np.pi))
            radii = (small, small * rng.uniform(0.7, 1.0))
            body = draw_blob(cell.size, center, radii, rng.uniform(0, np.pi), 0.15, rng)
            _paint_platelet(canvas, cell.size, body, small, rng)


def _paint_platelet(
    canvas: Canvas, size: int, body: Plane, radius: float, rng: np.random.Generator
) -> None:
    paint(canvas, body * 0.8, (0.80, 0.72, 0.84))
    core = body * ndimage.gaussian_filter(body, 0.3 * radius)
    granules = draw_granules(size, core, 26, (0.07 * radius, 0.16 * radius), rng)
    paint(canvas, granules * body * 0.8, (0.45, 0.22, 0.55))


FURTHER_KINDS: Final = MappingProxyType(
    {
        "erythroblast": CellKind(0.15, 0.22, _draw_erythroblast, 0.04),
        "lymphocyte_atypical": CellKind(0.25, 0.35, _draw_atypical_lymphocyte, 0.18),
        "metamyelocyte": CellKind(0.23, 0.31, _draw_metamyelocyte),
        "monoblast": CellKind(0.28, 0.37, _draw_monoblast, 0.10),
        "myeloblast": CellKind(0.22, 0.32, _draw_myeloblast),
        "myelocyte": CellKind(0.24, 0.33, _draw_myelocyte),
        "neutrophil_band": CellKind(0.22, 0.31, _draw_neutrophil_band),
        "platelet": CellKind(0.08, 0.13, _draw_platelet, 0.14),
        "promyelocyte": CellKind(0.27, 0.37, _draw_promyelocyte),
        "promyelocyte_bilobed": CellKind(0.27, 0.36, _draw_promyelocyte_bilobed),
        "smudge": CellKind(0.24, 0.34, _draw_smudge, 0.22),
    }
)
