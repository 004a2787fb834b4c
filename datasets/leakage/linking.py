"""Linking images to groups: the likeliest pairs first, each verified, joins only if supported.

A group is a connected component of verified links. Two guards keep unrelated images from being
chained together: a link needs keypoints and pixels that agree (`verification`), and where it would
join two groups of several images, further pairs of their images have to agree with it.
"""

# N images

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets.leakage.candidates import CandidateSearch, Pair
from datasets.leakage.features import ImageFeatures
from datasets.leakage.verification import Link, compare

_NUM_CANDIDATES: Final = 5
_MAX_ROUNDS: Final = 6
_BATCH: Final = 256
_PAIRS_OF_GROUPS: Final = 3
_PAIRS_A_GROUP: Final = 60
_NUM_SUPPORTERS: Final = 6
_SUPPORTING_SHARE: Final = 0.6
_SUPPORT_SAMPLE: Final = 40


class Linker:
    """Joins images to photographs, and photographs to scenes.

    Args:
        images: Without exact duplicates, in an order that does not depend on their paths.
        pool: Threads for the comparisons.
    """

    def __init__(self, images: Sequence[ImageFeatures], pool: ThreadPoolExecutor) -> None:
        self.photographs = Partition(len(images))
        self.scenes = Partition(len(images))
        self.num_pairs: Counter[str] = Counter()
        self._images = images
        self._pool = pool
        self._search = CandidateSearch(images)
        self._tested: set[Pair] = set()
        self._retakes: list[Pair] = []

    def run(self) -> None:
        """Link until no candidate outside an image's own group is left that verifies."""
        for number in range(_MAX_ROUNDS):
            pairs = self._list_candidates()
            num_joined = 0
            bar = tqdm(total=len(pairs), desc=f"comparing, round {number + 1}", disable=None)
            for start in range(0, len(pairs), _BATCH):
                num_joined += self._join(pairs[start : start + _BATCH])
                bar.update(len(pairs[start : start + _BATCH]))
            bar.close()
            if not num_joined:
                break
        self._join_scenes()

    def _list_candidates(self) -> list[Pair]:
        """Return pairs not yet compared, the likeliest first.

        A few for each two groups, and no more between two groups that have enough already: a group
        of many images resembles nearly every other group a little.
        """
        group_of = self.photographs.roots()
        similarity: dict[Pair, float] = {}
        for block in self._search.find(_NUM_CANDIDATES, group_of):
            similarity |= {pair: value for value, pair in block}
        ordered = sorted(similarity, key=lambda pair: (-similarity[pair], pair))
        chosen: list[Pair] = []
        uses: Counter[tuple[int, ...]] = Counter()
        for pair in ordered:
            first, second = sorted((int(group_of[pair[0]]), int(group_of[pair[1]])))
            uses[(first, second)] += 1
            if uses[(first, second)] > _PAIRS_OF_GROUPS:
                continue
            uses.update([(first,), (second,)])
            if min(uses[(first,)], uses[(second,)]) > _PAIRS_A_GROUP or pair in self._tested:
                continue
            chosen.append(pair)
        return chosen

    def _join(self, pairs: Sequence[Pair]) -> int:
        """Compare pairs of different groups and join where they agree; return how often."""
        are_joined = self.photographs.are_joined
        open_pairs = [pair for pair in pairs if not are_joined(pair[0], pair[1])]
        self._tested.update(open_pairs)
        num_joined = 0
        for pair, link in zip(open_pairs, self._compare(open_pairs), strict=True):
            if link is None or not link.is_same_scene or are_joined(pair[0], pair[1]):
                continue
            if link.is_same_photograph and self._is_supported(pair):
                self.photographs.join(pair[0], pair[1])
                self.num_pairs["near_duplicate" if link.is_in_place else "augmented_sibling"] += 1
                num_joined += 1
            else:
                self._retakes.append(pair)
        return num_joined

    def _is_supported(self, pair: Pair) -> bool:
        """Return whether most of the other pairs of both groups that overlap agree as well."""
        others = self._list_supporters(pair)
        if not others:
            return True
        links = [link for link in self._compare(others) if link is not None and link.is_same_scene]
        num_agreeing = sum(link.is_same_photograph for link in links)
        return bool(links) and num_agreeing >= _SUPPORTING_SHARE * len(links)

    def _list_supporters(self, pair: Pair) -> list[Pair]:
        """Return the likeliest other pairs of the two groups; none if one holds one image."""
        first, second = (self.photographs.members(index)[:_SUPPORT_SAMPLE] for index in pair[:2])
        if min(len(first), len(second)) == 1:
            return []
        similarity = self._search.similarity(first, second)
        others: list[Pair] = []
        for flat in np.argsort(-similarity, axis=None, kind="stable"):
            mirrored, row, column = np.unravel_index(flat, similarity.shape)
            one, other = first[int(row)], second[int(column)]
            if not {one, other} & set(pair[:2]):
                others.append((min(one, other), max(one, other), bool(mirrored)))
            if len(others) == _NUM_SUPPORTERS:
                break
        return others

    def _join_scenes(self) -> None:
        for index, root in enumerate(self.photographs.roots()):
            self.scenes.join(index, int(root))
        for first, second, _ in self._retakes:
            if not self.scenes.are_joined(first, second):
                self.scenes.join(first, second)
                self.num_pairs["photographed_again"] += 1

    def _compare(self, pairs: Sequence[Pair]) -> list[Link | None]:
        return list(self._pool.map(self._compare_pair, pairs))

    def _compare_pair(self, pair: Pair) -> Link | None:
        first, second, is_mirrored = pair
        return compare(self._images[first], self._images[second], is_mirrored=is_mirrored)


class Partition:
    """Indices 0 to N - 1 in disjoint groups, each named by its smallest index.

    Args:
        number: N.
    """

    def __init__(self, number: int) -> None:
        self._root_of = np.arange(number)
        self._members = {index: [index] for index in range(number)}

    def roots(self) -> NDArray[np.int64]:
        """Return the smallest index of each one's group, (N,)."""
        return self._root_of.copy()

    def members(self, index: int) -> list[int]:
        """Return the group of `index`."""
        return self._members[int(self._root_of[index])]

    def are_joined(self, first: int, second: int) -> bool:
        """Return whether both are in one group."""
        return bool(self._root_of[first] == self._root_of[second])

    def join(self, first: int, second: int) -> None:
        """Make one group of both groups."""
        keep, drop = sorted((int(self._root_of[first]), int(self._root_of[second])))
        if keep != drop:
            moved = self._members.pop(drop)
            self._root_of[moved] = keep
            self._members[keep] += moved
