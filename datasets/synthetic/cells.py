"""Synthetic blood cells in a Giemsa-stained smear, with their masks.

The kinds differ in what a hematologist looks at: number of nuclear lobes, granules, size,
chromatin and colour of the cytoplasm. Position, turn, size, stain, light, focus and the red cells
around them vary for all kinds alike, so the mean colour of a picture tells little.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.anatomy import Cell, CellKind
from datasets.synthetic.canvas import (
    USUAL_MICROSCOPE,
    Canvas,
    Microscope,
    develop,
    draw_blob,
    paint,
)
from datasets.synthetic.common_kinds import COMMON_KINDS
from datasets.synthetic.further_kinds import FURTHER_KINDS

CELL_KINDS: Final[Mapping[str, CellKind]] = MappingProxyType({**COMMON_KINDS, **FURTHER_KINDS})

_PLASMA: Final = (0.93, 0.91, 0.87)
_RED_CELL: Final = (0.86, 0.66, 0.63)
_STAIN_SPREAD: Final = 0.25


def draw_cell(
    label: str, size: int, rng: np.random.Generator, microscope: Microscope = USUAL_MICROSCOPE
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture of one cell of kind `label`, uint8 (S, S, 3), and its mask (S, S).

    The mask is 255 on the cell and 0 elsewhere.

    Args:
        label: One of `CELL_KINDS`.
        size: S in pixels.
        rng: Source of everything that varies.
        microscope: What the picture is taken with.
    """
    kind = CELL_KINDS[label]
    canvas = _draw_smear(size, rng)
    center = (size / 2 + rng.normal(0, 0.06) * size, size / 2 + rng.normal(0, 0.06) * size)
    radius = rng.uniform(kind.smallest, kind.largest) * size
    turn = rng.uniform(0, 2 * np.pi)
    stretch = rng.uniform(0.9, 1.1)
    body = draw_blob(size, center, (radius * stretch, radius / stretch), turn, kind.wobble, rng)
    kind.draw(canvas, Cell(size, center, radius, turn, body), rng)
    picture = develop(canvas, _STAIN_SPREAD, rng, microscope)
    return picture, ((body > 0.5) * 255).astype(np.uint8)


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
