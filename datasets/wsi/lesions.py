"""How much of each tile is tumor: exact areas of polygons.

Areas are computed from the polygons (shapely) and not from a drawn mask: a drawn mask of a slide
of 100,000 x 200,000 pixels is either 20 GB or too coarse for tiles at its borders, and polygons
that cross themselves need a library either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from datasets.wsi.annotations import Outline


class Lesions:
    """The tumor areas of a slide, in level-0 pixels.

    Outlines are laid on each other from the largest to the smallest: one of tumor adds its area,
    one of an exclusion group cuts it out. So a hole is a hole, tumor that grows inside a hole is
    tumor again, and an outline inside another of its own kind changes nothing.
    """

    def __init__(self, outlines: Sequence[Outline]) -> None:
        shapes = [(_make_valid(outline), outline.is_tumor) for outline in outlines]
        shapes.sort(key=lambda shape: -shape[0].area)
        area: BaseGeometry = shapely.MultiPolygon()
        for is_tumor, run in groupby(shapes, key=lambda shape: shape[1]):
            layer = shapely.union_all([shape for shape, _ in run])
            area = area.union(layer) if is_tumor else area.difference(layer)
        self._parts = np.array([part for part in shapely.get_parts(area) if part.area > 0])
        self._tree = shapely.STRtree(self._parts)

    @property
    def area(self) -> float:
        """Area of the tumor in square level-0 pixels."""
        return float(sum(part.area for part in self._parts))

    @property
    def rings(self) -> list[NDArray[np.float64]]:
        """Borders of the tumor, (N, 2) arrays of x and y, those of holes among them."""
        lines = shapely.get_rings(self._parts) if len(self._parts) else []
        return [shapely.get_coordinates(line) for line in lines]

    def fractions(self, corners: NDArray[np.int64], level0_size: int) -> NDArray[np.float64]:
        """Return the share of tumor, in [0, 1], in each square.

        Args:
            corners: (N, 2), x and y of the upper left corners in level-0 pixels.
            level0_size: Side of the squares in level-0 pixels.
        """
        areas = np.zeros(len(corners))
        if len(corners) and len(self._parts):
            left, top = corners[:, 0], corners[:, 1]
            squares = shapely.box(left, top, left + level0_size, top + level0_size)
            square, part = self._tree.query(squares, predicate="intersects")
            # The parts are disjoint, so their shares of a square add up.
            overlaps = shapely.area(shapely.intersection(squares[square], self._parts[part]))
            np.add.at(areas, square, overlaps)
        return np.clip(areas / level0_size**2, 0, 1)


def _make_valid(outline: Outline) -> BaseGeometry:
    """Return the outline's area; where it crosses itself, that which has an inside by even-odd."""
    polygon = shapely.Polygon(outline.points)
    if polygon.is_valid:
        return polygon
    pieces = shapely.get_parts(shapely.make_valid(polygon))
    return shapely.union_all([piece for piece in pieces if piece.area > 0])
