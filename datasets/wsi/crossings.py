"""Whether a closed line crosses itself more often than a hand does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

_PAIRS_AT_ONCE: Final = 500_000


def crosses_more_than(points: Sequence[tuple[float, float]], limit: int) -> bool:
    """Return whether more than `limit` pairs of the line's pieces cross or touch.

    Neighbours, which always touch, do not count. The search ends with the first pair too many, so
    the wildest lines are the quickest.

    Args:
        points: (x, y), at least three; the last one is joined to the first.
        limit: Pairs allowed.
    """
    if shapely.Polygon(points).is_valid:
        return False
    corners = np.asarray(points, dtype=np.float64)
    # A point that stands twice would make neighbours of its neighbours.
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    pieces = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
    tree = shapely.STRtree(shapely.linestrings(pieces))
    number = 0
    step = max(1, _PAIRS_AT_ONCE // len(pieces))
    for start in range(0, len(pieces), step):
        first, second = tree.query(tree.geometries[start : start + step])
        first = first + start
        gap = second - first
        apart = (gap > 1) & (gap < len(pieces) - 1)
        number += int(_meet(pieces[first[apart]], pieces[second[apart]]).sum())
        if number > limit:
            return True
    return False


def _meet(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which pieces (N, 2 ends, 2) meet, of pairs whose boxes meet."""
    divided = _side(first, second[:, 0]) * _side(first, second[:, 1]) <= 0
    return divided & (_side(second, first[:, 0]) * _side(second, first[:, 1]) <= 0)


def _side(piece: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return on which side of the piece the point lies: -1, 1, or 0 if on it."""
    along, away = piece[:, 1] - piece[:, 0], point - piece[:, 0]
    side: NDArray[np.float64] = np.sign(along[:, 0] * away[:, 1] - along[:, 1] * away[:, 0])
    return side
