"""What is kept of an image to recognise its copies: hashes, keypoints and a small gray picture."""

# K keypoints

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.leakage.reading import hash_source, read_pixels

WORKING_SIDE: Final = 320
"""Longer side, in pixels, to which larger images are reduced before keypoints are sought."""

SMALLEST_SIDE: Final = 240
"""Smaller images are enlarged to this longer side; a 120-pixel cell gives more keypoints so."""

GRAY_SCALE: Final = 0.5
"""Size of the kept gray picture relative to the frame of the keypoints."""

FILL: Final = 0
"""Gray value that marks pixels without content in the kept picture."""

_WHITE_PERCENT: Final = 95
_DARK: Final = 130
_USUAL_WHITE: Final = 200
_MAX_GAIN: Final = 4.0
_BRIGHTENING_BLUR: Final = 0.6
_MAX_KEYPOINTS: Final = 200
_DESCRIPTOR_SCALE: Final = 512.0
_FLAT_RANGE: Final = 4
_MIN_FILL_PIXELS: Final = 60
_FILL_MARGIN: Final = 13

# Bins of a SIFT descriptor are (4 rows, 4 columns, 8 directions) about the keypoint's axis. In a
# mirror the rows come in reverse and each direction becomes its negative.
_MIRROR: Final = (
    np.arange(128).reshape(4, 4, 8)[::-1, :, -np.arange(8) % 8].reshape(-1).astype(np.intp)
)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageFeatures:
    """What the search and the verification need of one image.

    Attributes:
        file_hash: SHA-256 of the file.
        pixel_hash: SHA-256 of size and decoded RGB pixels.
        points: Keypoints (K, 2), x and y in pixels of the working frame, float32.
        descriptors: RootSIFT descriptors (K, 128), uint8.
        gray: Picture (H, W) at `GRAY_SCALE` of the working frame; `FILL` where there is no content.
    """

    file_hash: str
    pixel_hash: str
    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    gray: Pixels

    @property
    def unit_descriptors(self) -> NDArray[np.float32]:
        """Descriptors (K, 128) of length 1."""
        return normalise(self.descriptors)

    def mirrored(self) -> ImageFeatures:
        """Return the features of the image flipped left to right, without reading it again."""
        width = self.gray.shape[1] / GRAY_SCALE
        points = self.points.copy()
        points[:, 0] = width - 1 - points[:, 0]
        return ImageFeatures(
            self.file_hash,
            self.pixel_hash,
            points,
            mirror_descriptors(self.descriptors),
            np.ascontiguousarray(self.gray[:, ::-1]),
        )


def describe_image(path: Path, *, exact: bool = False) -> ImageFeatures:
    """Return the features of an image.

    Args:
        path: Image file, or tile as `reading.place_tile` names it.
        exact: Hashes only, without keypoints and picture.

    Raises:
        UnreadableImageError: It does not decode.
    """
    pixels = np.asarray(read_pixels(path))
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(pixels.tobytes())
    if exact:
        nothing = np.zeros((0, 0), np.uint8)
        points, descriptors = nothing.reshape(0, 2).astype(np.float32), nothing.reshape(0, 128)
        return ImageFeatures(hash_source(path), digest.hexdigest(), points, descriptors, nothing)
    gray = _to_working_size(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8))
    gray = _brighten(gray)
    fill = _find_fill(gray)
    points, descriptors = _find_keypoints(gray, fill)
    return ImageFeatures(
        hash_source(path), digest.hexdigest(), points, descriptors, _shrink(gray, fill)
    )


def mirror_descriptors(descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what SIFT gives for the same points of the mirrored image, (K, 128)."""
    return np.ascontiguousarray(descriptors[:, _MIRROR])


def normalise(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return descriptors (K, 128) as float32 rows of length 1."""
    values = descriptors.astype(np.float32)
    unit: NDArray[np.float32] = values / np.maximum(
        np.linalg.norm(values, axis=1, keepdims=True), 1e-6
    )
    return unit


def _to_working_size(gray: Pixels) -> Pixels:
    side = max(gray.shape)
    target = min(max(side, SMALLEST_SIDE), WORKING_SIDE)
    # Even sides, so that the picture at half size shows exactly the same field.
    height, width = (max(16, round(length * target / side / 2) * 2) for length in gray.shape)
    method = cv2.INTER_AREA if side > target else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(gray, (width, height), interpolation=method), dtype=np.uint8)


def _brighten(gray: Pixels) -> Pixels:
    """Return a dark picture as bright as others, since thresholds of contrast are absolute."""
    white = max(float(np.percentile(gray, _WHITE_PERCENT)), 1.0)
    if white >= _DARK:
        return gray
    # The blur keeps the gain from making texture of what rounding and compression left.
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), _BRIGHTENING_BLUR)
    gain = min(_USUAL_WHITE / white, _MAX_GAIN)
    return np.clip(np.round(np.asarray(smooth) * gain), 0, 255).astype(np.uint8)


def _find_fill(gray: Pixels) -> NDArray[np.bool_]:
    """Return the even areas that touch the border: the fill of a rotation, or empty background."""
    window = np.ones((5, 5), np.uint8)
    spread = cv2.subtract(cv2.dilate(gray, window), cv2.erode(gray, window))
    flat = (np.asarray(spread) <= _FLAT_RANGE).astype(np.uint8)
    number, areas, statistics, _ = cv2.connectedComponentsWithStats(flat)
    border = np.unique(np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]]))
    is_fill = np.zeros(number, dtype=np.bool_)
    is_fill[border] = statistics[border, cv2.CC_STAT_AREA] >= _MIN_FILL_PIXELS
    is_fill[0] = False
    found: NDArray[np.bool_] = is_fill[areas]
    return found


def _find_keypoints(
    gray: Pixels, fill: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return points and RootSIFT descriptors (Arandjelovic and Zisserman 2012, section 3)."""
    margin = np.ones((_FILL_MARGIN, _FILL_MARGIN), np.uint8)
    # The border between picture and fill has strong corners that no sibling shares.
    allowed = np.asarray(cv2.dilate(fill.astype(np.uint8), margin)) == 0
    detector = cv2.SIFT.create(nfeatures=_MAX_KEYPOINTS, contrastThreshold=0.015, edgeThreshold=12)
    keypoints, values = detector.detectAndCompute(gray, allowed.astype(np.uint8) * 255)
    if values is None or len(keypoints) == 0:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float32)
    root = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-6))
    descriptors = np.clip(np.round(root * _DESCRIPTOR_SCALE), 0, 255).astype(np.uint8)
    # nfeatures is a wish: several orientations of one point may exceed it.
    return points[:_MAX_KEYPOINTS], descriptors[:_MAX_KEYPOINTS]


def _shrink(gray: Pixels, fill: NDArray[np.bool_]) -> Pixels:
    size = (int(gray.shape[1] * GRAY_SCALE), int(gray.shape[0] * GRAY_SCALE))
    small = np.maximum(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), FILL + 1)
    is_fill = cv2.resize(fill.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    small[is_fill] = FILL
    return small.astype(np.uint8)
