"""Synthetic H&E tiles: lymph node with and without tumor, and papillary renal carcinoma."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from datasets.synthetic.canvas import Canvas, Plane, develop, paint, smooth_noise, stamp_disc

_STAIN_SPREAD = 0.15


def draw_lymph_node_tile(
    label: str, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a tile, uint8 (S, S, 3), and the mask of its tissue, uint8 (S, S), 255 inside.

    Normal tissue is packed with small, dark, round nuclei; tumor has nests of large, pale, uneven
    nuclei with nucleoli in pink cytoplasm, and lymphocytes between the nests.
    """
    canvas = _draw_stroma(size, (0.86, 0.72, 0.82), rng)
    nests = np.zeros((size, size), dtype=np.float32)
    if label == "tumor":
        nests = _soft_step(smooth_noise(size, size / 9, rng) + rng.uniform(-0.2, 0.7), 6)
        paint(canvas, nests * 0.8, (0.87, 0.62, 0.74))
    density = rng.uniform(0.0038, 0.0058)
    _scatter_nuclei(canvas, 1 - nests, density, (3.0, 4.6), (0.33, 0.21, 0.50), rng)
    if label == "tumor":
        _scatter_nuclei(canvas, nests, density / 3.2, (5.5, 10.0), (0.50, 0.34, 0.60), rng)
        _scatter_nuclei(canvas, nests, density / 3.0, (1.0, 1.8), (0.30, 0.14, 0.42), rng)
    gaps = _soft_step(smooth_noise(size, size / 16, rng) - rng.uniform(1.3, 2.4), 8)
    paint(canvas, gaps, (0.95, 0.93, 0.95))
    return develop(canvas, _STAIN_SPREAD, rng), ((gaps < 0.5) * 255).astype(np.uint8)


def draw_renal_tile(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a tile of papillary fronds, uint8 (S, S, 3): stroma cores lined by one cell layer."""
    canvas = np.empty((size, size, 3), dtype=np.float32)
    canvas[:] = (0.95, 0.93, 0.95)
    field = smooth_noise(size, size / rng.uniform(11, 18), rng)
    fronds = _soft_step(field + rng.uniform(0.0, 0.5), 10)
    depth = ndimage.distance_transform_edt(fronds > 0.5)
    lining = ((depth > 0) & (depth < 0.045 * size)).astype(np.float32) * fronds
    paint(canvas, fronds, _draw_stroma(size, (0.88, 0.66, 0.76), rng))
    paint(canvas, lining * 0.7, (0.80, 0.56, 0.74))
    _scatter_nuclei(canvas, lining, 0.006, (3.2, 5.5), (0.36, 0.24, 0.52), rng)
    _scatter_nuclei(canvas, fronds - lining, 0.0008, (2.0, 4.0), (0.42, 0.28, 0.55), rng)
    return develop(canvas, _STAIN_SPREAD, rng)


def _draw_stroma(size: int, colour: Sequence[float], rng: np.random.Generator) -> Canvas:
    fibres = ndimage.gaussian_filter(rng.standard_normal((size, size)), (1.2, 9), mode="wrap")
    fibres = fibres / max(float(fibres.std()), 1e-9)
    clouds = smooth_noise(size, size / 12, rng)
    shade = 1 + 0.03 * fibres + 0.03 * clouds
    stroma: Canvas = (np.asarray(colour) * shade[:, :, None]).astype(np.float32)
    return stroma


def _scatter_nuclei(
    canvas: Canvas,
    where: Plane,
    density: float,
    radius: tuple[float, float],
    colour: Sequence[float],
    rng: np.random.Generator,
) -> None:
    """Paint nuclei at random places inside `where`, `density` a square pixel."""
    places = np.argwhere(where > 0.6)
    if len(places) == 0:
        return
    coverage = np.zeros(where.shape, dtype=np.float32)
    for y, x in places[rng.integers(len(places), size=int(density * len(places)))]:
        long = rng.uniform(*radius)
        drift = rng.uniform(0, np.pi)
        for step in (-0.35, 0.35):
            centre = (x + step * long * np.cos(drift), y + step * long * np.sin(drift))
            stamp_disc(coverage, centre, long, rng.uniform(0.7, 0.95))
    paint(canvas, coverage, colour)


def _soft_step(field: Plane, sharpness: float) -> Plane:
    step: Plane = (1 / (1 + np.exp(-sharpness * field))).astype(np.float32)
    return step
