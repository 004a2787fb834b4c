"""Which images are worth comparing: a search by visual words, blind to place, angle and mirroring.

Each keypoint votes for its nearest visual word, and images are compared as weighted word counts
(Sivic and Zisserman 2003). The vocabulary holds the mirror image of each of its words, so the words
of a mirrored image are those of the image itself, renumbered.
"""

# N images, V words

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from datasets.leakage.features import ImageFeatures, mirror_descriptors, normalise

_MAX_WORDS: Final = 2048
_KEYPOINTS_A_WORD: Final = 8
_ASSIGN_ROWS: Final = 20_000
_SEARCH_ROWS: Final = 256

Pair = tuple[int, int, bool]
"""Two images (indices, the smaller first) and whether one is seen in a mirror."""


class CandidateSearch:
    """Similarity of images by the visual words they share.

    Args:
        features: Of the images, in an order that does not depend on where they lie.
        seed: Of the draw of the vocabulary.
    """

    def __init__(self, features: Sequence[ImageFeatures], seed: int = 0) -> None:
        self.words = self._count_words(features, _draw_vocabulary(features, seed))
        half = self.words.shape[1] // 2
        swapped = np.r_[half : 2 * half, 0:half]
        self.mirrored_words = self.words[:, swapped].tocsr()

    def find(self, number: int, group_of: NDArray[np.int64]) -> Iterator[list[tuple[float, Pair]]]:
        """Yield, block of images by block, each image's `number` most similar others.

        Args:
            number: Of candidates an image, plain and mirrored each.
            group_of: Group of each image, (N,); images of one group are no candidates.
        """
        transposed = self.words.T.tocsr()
        for start in range(0, len(group_of), _SEARCH_ROWS):
            rows = np.arange(start, min(start + _SEARCH_ROWS, len(group_of)))
            found: list[tuple[float, Pair]] = []
            for is_mirrored in (False, True):
                words = self.mirrored_words if is_mirrored else self.words
                similarity = (words[rows] @ transposed).toarray()
                similarity[group_of[rows][:, None] == group_of[None, :]] = 0
                found += _take_best(similarity, rows, number, is_mirrored)
            yield found

    def similarity(self, first: Sequence[int], second: Sequence[int]) -> NDArray[np.float32]:
        """Return similarities in [0, 1], (2, len(first), len(second)): plain, then mirrored."""
        transposed = self.words[list(second)].T
        return np.stack(
            [
                (words[list(first)] @ transposed).toarray()
                for words in (self.words, self.mirrored_words)
            ]
        ).astype(np.float32)

    def _count_words(
        self, features: Sequence[ImageFeatures], vocabulary: NDArray[np.float32]
    ) -> sparse.csr_matrix:
        """Return word counts (N, V), weighted by rarity, as rows of length 1."""
        owners = np.repeat(np.arange(len(features)), [len(image.points) for image in features])
        words = _assign(features, vocabulary)
        counts = sparse.coo_matrix(
            (np.ones(len(words), np.float32), (owners, words)),
            shape=(len(features), max(2, len(vocabulary))),
        ).tocsr()
        counts.data = np.sqrt(counts.data)
        images_with = np.bincount(counts.indices, minlength=counts.shape[1])
        # A word and its mirror image share one weight, or mirroring would change the lengths.
        half = counts.shape[1] // 2
        images_with = np.tile(images_with[:half] + images_with[half:], 2)
        rarity = np.log((2 * len(features) + 1) / (images_with + 1))
        weighted = counts @ sparse.diags(rarity.astype(np.float32))
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return (sparse.diags(1 / np.maximum(lengths, 1e-6)) @ weighted).tocsr().astype(np.float32)


def _draw_vocabulary(features: Sequence[ImageFeatures], seed: int) -> NDArray[np.float32]:
    """Return words (V, 128): keypoints drawn at random, then their mirror images.

    Drawn words serve as well as clustered ones here, and are the same on every machine.
    """
    counts = [len(image.points) for image in features]
    total = sum(counts)
    number = min(_MAX_WORDS, total // _KEYPOINTS_A_WORD + 1) if total else 0
    chosen = np.sort(np.random.default_rng(seed).choice(total, number, replace=False))
    starts = np.cumsum([0, *counts])
    owners = np.searchsorted(starts, chosen, side="right") - 1
    drawn = [
        features[owner].descriptors[row - starts[owner]]
        for owner, row in zip(owners, chosen, strict=True)
    ]
    words = np.array(drawn, dtype=np.uint8).reshape(-1, 128)
    return normalise(np.concatenate([words, mirror_descriptors(words)]))


def _assign(
    features: Sequence[ImageFeatures], vocabulary: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the nearest word of every keypoint of every image, in order."""
    nearest: list[NDArray[np.int64]] = []
    batch: list[NDArray[np.uint8]] = []
    waiting = 0
    for index, image in enumerate(features):
        batch.append(image.descriptors)
        waiting += len(image.descriptors)
        if waiting and (waiting >= _ASSIGN_ROWS or index == len(features) - 1):
            nearest.append((normalise(np.concatenate(batch)) @ vocabulary.T).argmax(axis=1))
            batch, waiting = [], 0
    return np.concatenate(nearest) if nearest else np.zeros(0, np.int64)


def _take_best(
    similarity: NDArray[np.float32], rows: NDArray[np.int64], number: int, is_mirrored: bool
) -> list[tuple[float, Pair]]:
    number = min(number, similarity.shape[1])
    best = np.argpartition(-similarity, number - 1, axis=1)[:, :number]
    found: list[tuple[float, Pair]] = []
    for row, others in enumerate(best):
        for other in others[similarity[row, others] > 0]:
            first, second = sorted((int(rows[row]), int(other)))
            found.append((float(similarity[row, other]), (first, second, is_mirrored)))
    return found
