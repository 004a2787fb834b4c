"""Whether two images show the same thing: keypoints that agree on one transformation, then pixels.

Two copies of one photograph differ by resampling and compression, so that nearly all of their
common area correlates nearly perfectly. The same cells photographed again (another focus, a moved
stage, dirt on the sensor that stays where it was) leave many windows that do not. The thresholds
were set on both kinds of pairs made from BCCD photographs; `experiments/benchmark_audit.py`
measures what comes of them.
"""

# M matches, H W height and width of the gray picture

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.leakage.features import FILL, GRAY_SCALE, ImageFeatures

_RATIO: Final = 0.85
_MIN_MATCHES: Final = 5
_RANSAC_PIXELS: Final = 4.0
_RANSAC_ROUNDS: Final = 1000
_MIN_STRETCH: Final = 0.5
_MAX_STRETCH: Final = 2.0
_MAX_SKEW: Final = 1.6

_WINDOW: Final = 13
_BLUR: Final = 1.0
_FILL_MARGIN: Final = 7
_MIN_DEVIATION: Final = 4.0
_MIN_WINDOWS: Final = 100
_WORST_PERCENT: Final = 10

_MIN_CORRELATION: Final = 0.6
_MANY_INLIERS: Final = 12
_MIN_AGREEMENT: Final = 0.35
_MIN_AGREEMENT_FEW: Final = 0.9
_MIN_COMMON: Final = 0.04
_MIN_WORST: Final = 0.972

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Link:
    """Evidence that two images show the same thing.

    Attributes:
        num_inliers: Matched keypoints that follow one affine transformation.
        agreement: Share of the textured common area where the gray values correlate, in [0, 1].
        common_fraction: Agreeing area relative to the smaller image, in [0, 1].
        worst_correlation: What 90 % of the textured common area exceeds, in [-1, 1].
        is_in_place: The transformation moves nothing: a near-duplicate, not an augmented sibling.
    """

    num_inliers: int
    agreement: float
    common_fraction: float
    worst_correlation: float
    is_in_place: bool

    @property
    def is_same_scene(self) -> bool:
        """Whether both show the same cells, perhaps photographed twice."""
        is_many = self.num_inliers >= _MANY_INLIERS
        needed = _MIN_AGREEMENT if is_many else _MIN_AGREEMENT_FEW
        return self.agreement >= needed and self.common_fraction >= _MIN_COMMON

    @property
    def is_same_photograph(self) -> bool:
        """Whether both were made from one photograph."""
        return self.is_same_scene and self.worst_correlation >= _MIN_WORST


def compare(first: ImageFeatures, second: ImageFeatures, *, is_mirrored: bool) -> Link | None:
    """Return the evidence that `second` (mirrored, if asked) is a copy of `first`, or None."""
    if is_mirrored:
        second = second.mirrored()
    source, target = _match(first, second)
    if len(source) < _MIN_MATCHES:
        return None
    found, inliers = cv2.estimateAffine2D(
        source,
        target,
        method=cv2.RANSAC,
        ransacReprojThreshold=_RANSAC_PIXELS,
        maxIters=_RANSAC_ROUNDS,
    )
    if found is None:
        return None
    matrix = np.asarray(found, dtype=np.float64)
    if not _is_plausible(matrix):
        return None
    num_inliers = _count_places(source[inliers.ravel() > 0])
    if num_inliers < _MIN_MATCHES:
        return None
    correlation, area = _correlate(first.gray, second.gray, matrix)
    if len(correlation) < _MIN_WINDOWS:
        return None
    num_agreeing = int((correlation > _MIN_CORRELATION).sum())
    return Link(
        num_inliers=num_inliers,
        agreement=num_agreeing / len(correlation),
        common_fraction=num_agreeing / area,
        worst_correlation=float(np.percentile(correlation, _WORST_PERCENT)),
        is_in_place=not is_mirrored and _is_in_place(matrix, first.gray),
    )


def _match(
    first: ImageFeatures, second: ImageFeatures
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return matched points (M, 2) of both images, by Lowe's ratio test."""
    if min(len(first.points), len(second.points)) < _MIN_MATCHES:
        return first.points[:0], second.points[:0]
    cosine = first.unit_descriptors @ second.unit_descriptors.T
    nearest = cosine.argmax(axis=1)
    rows = np.arange(len(cosine))
    best = cosine[rows, nearest]
    cosine[rows, nearest] = -1
    other = cosine.max(axis=1)
    is_match = (1 - best) < _RATIO**2 * (1 - other)
    return first.points[is_match], second.points[nearest[is_match]]


def _count_places(points: NDArray[np.float32]) -> int:
    """Return the number of points at different places; one corner can give several keypoints."""
    return len(np.unique(np.round(points / 4), axis=0))


def _is_plausible(matrix: Matrix) -> bool:
    """Return whether scale, skew and handedness are those of an augmentation, not of chance."""
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(
        np.linalg.det(matrix[:, :2]) > 0
        and stretch[0] <= _MAX_STRETCH
        and stretch[1] >= _MIN_STRETCH
        and stretch[0] <= _MAX_SKEW * stretch[1]
    )


def _is_in_place(matrix: Matrix, gray: NDArray[np.uint8]) -> bool:
    height, width = (length / GRAY_SCALE for length in gray.shape)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    return bool(np.abs(corners @ matrix.T - corners[:, :2]).max() < _RANSAC_PIXELS)


def _correlate(
    first: NDArray[np.uint8], second: NDArray[np.uint8], matrix: Matrix
) -> tuple[NDArray[np.float32], float]:
    """Return the correlation of every textured window of the common area, and the smaller area.

    Correlation in small windows does not mind brightness, and an area where one image is filled
    (streaks of its border, say) spoils only its own windows.
    """
    matrix = matrix.copy()
    # Pixel centres: a point x of the working frame lies at GRAY_SCALE * (x + 0.5) - 0.5.
    shift = (1 - GRAY_SCALE) / 2
    matrix[:, 2] = GRAY_SCALE * matrix[:, 2] + shift * (matrix[:, :2].sum(axis=1) - 1)
    size = (second.shape[1], second.shape[0])
    # The blur takes away what interpolation and compression did to a copy, not what a second
    # exposure changes.
    a = np.asarray(cv2.warpAffine(_blur(first), matrix, size), dtype=np.float32)
    b = _blur(second)
    is_content = np.asarray(cv2.warpAffine(_weigh_content(first), matrix, size)) > 0.99
    weight = (is_content & (_weigh_content(second) > 0)).astype(np.float32)
    count = np.maximum(_box(weight), 1e-3)
    mean_a, mean_b = _box(a * weight) / count, _box(b * weight) / count
    variance_a = np.maximum(_box(a * a * weight) / count - mean_a**2, 0)
    variance_b = np.maximum(_box(b * b * weight) / count - mean_b**2, 0)
    covariance = _box(a * b * weight) / count - mean_a * mean_b
    is_textured = (np.maximum(variance_a, variance_b) > _MIN_DEVIATION**2) & (count > 0.9)
    is_textured &= weight > 0
    correlation = covariance / np.sqrt(variance_a * variance_b + 1)
    area = min(first.size * float(abs(np.linalg.det(matrix[:, :2]))), second.size)
    return correlation[is_textured], area


def _blur(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(gray.astype(np.float32), (0, 0), _BLUR), np.float32)


def _weigh_content(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return 1 where the blur has seen content only, else 0."""
    content = (gray != FILL).astype(np.float32)
    window = np.ones((_FILL_MARGIN, _FILL_MARGIN), np.uint8)
    return np.asarray(cv2.erode(content, window), np.float32)


def _box(values: NDArray[np.float32]) -> NDArray[np.float32]:
    window = (_WINDOW, _WINDOW)
    return np.asarray(cv2.blur(values, window, borderType=cv2.BORDER_CONSTANT), np.float32)
