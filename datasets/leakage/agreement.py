"""How well found groups agree with true ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import comb


def score_pairs(found: Sequence[str], truth: Sequence[str]) -> tuple[float, float]:
    """Return precision and recall, in [0, 1], over all pairs of images.

    Precision is the share of the pairs in one found group that are in one true group, recall the
    share of the pairs in one true group that are in one found group; 1 where there is no pair.

    Args:
        found: Group of each image as found.
        truth: Group of each image in truth.
    """
    both = _count_pairs(zip(found, truth, strict=True))
    num_found, num_true = _count_pairs(found), _count_pairs(truth)
    return both / num_found if num_found else 1.0, both / num_true if num_true else 1.0


def _count_pairs(groups: Iterable[object]) -> int:
    return sum(comb(size, 2) for size in Counter(groups).values())
