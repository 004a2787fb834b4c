"""Statistics of the pixels of a class; needs neither files nor torch."""

# N images, H W height width, S side of the mean image, T thresholds

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

GRAY_THRESHOLDS: Final = (150, 180, 200)
"""Gray levels at which the 4-class blood cell study cut its images."""

LEVELS: Final = 256
MEAN_IMAGE_SIZE: Final = 128


@dataclass(frozen=True)
class PixelStatistics:
    """What the images of one class look like; each image counts the same, whatever its size.

    Attributes:
        num_images: How many were measured.
        colour_histogram: Mean share of an image's pixels at each level of R, G and B, (3, 256).
        gray_histogram: The same of the gray levels, (256,).
        thresholds: Gray levels (T,).
        share_below: Share of each image's pixels that are darker than each threshold, (N, T).
        mean_image: Mean of all images, each squeezed to a square, float in [0, 255], (S, S, 3).
        examples: The first images, each fitted into a square and centred on white, (S, S, 3).
    """

    num_images: int
    colour_histogram: NDArray[np.float64]
    gray_histogram: NDArray[np.float64]
    thresholds: tuple[int, ...]
    share_below: NDArray[np.float64]
    mean_image: NDArray[np.float64]
    examples: tuple[Pixels, ...]

    @property
    def mean_colour(self) -> tuple[float, float, float]:
        """Mean red, green and blue in [0, 255]."""
        red, green, blue = self.colour_histogram @ np.arange(LEVELS)
        return float(red), float(green), float(blue)

    @property
    def mean_gray(self) -> float:
        """Mean gray level in [0, 255]."""
        return float(self.gray_histogram @ np.arange(LEVELS))


def measure_pixels(
    images: Iterable[Pixels],
    *,
    thresholds: Sequence[int] = GRAY_THRESHOLDS,
    num_examples: int = 8,
    example_size: int = 192,
) -> PixelStatistics:
    """Return the statistics of RGB images (H, W, 3) of any sizes; they are held one at a time.

    Without images all shares are zero.

    Raises:
        ValueError: A threshold is not in 1 to 255.
    """
    if any(not 0 < threshold < LEVELS for threshold in thresholds):
        raise ValueError(f"Gray thresholds must lie in 1 to 255, not {tuple(thresholds)}.")
    colour = np.zeros((3, LEVELS))
    gray = np.zeros(LEVELS)
    total = np.zeros((MEAN_IMAGE_SIZE, MEAN_IMAGE_SIZE, 3))
    below: list[NDArray[np.float64]] = []
    examples: list[Pixels] = []
    for pixels in images:
        shares = histogram(to_gray(pixels))
        gray += shares
        below.append(shares.cumsum()[np.asarray(thresholds, dtype=np.int64) - 1])
        colour += np.stack([histogram(pixels[:, :, channel]) for channel in range(3)])
        total += _squeeze(pixels, MEAN_IMAGE_SIZE)
        if len(examples) < num_examples:
            examples.append(fit_into_square(pixels, example_size))
    number = max(1, len(below))
    return PixelStatistics(
        num_images=len(below),
        colour_histogram=colour / number,
        gray_histogram=gray / number,
        thresholds=tuple(thresholds),
        share_below=np.array(below).reshape(len(below), len(thresholds)),
        mean_image=total / number,
        examples=tuple(examples),
    )


def histogram(channel: Pixels) -> NDArray[np.float64]:
    """Return the share of the pixels (H, W) at each of the 256 levels."""
    return np.bincount(channel.ravel(), minlength=LEVELS) / channel.size


def to_gray(pixels: Pixels) -> Pixels:
    """Return the gray levels (H, W) of an RGB image (ITU-R 601: 0.299 R + 0.587 G + 0.114 B)."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def cut_at(gray: Pixels, threshold: int) -> Pixels:
    """Return white where a gray image (H, W) reaches the threshold, black where it is darker."""
    return np.where(gray >= threshold, 255, 0).astype(np.uint8)


def fit_into_square(pixels: Pixels, side: int) -> Pixels:
    """Return the image scaled into a white square of `side` pixels, its proportions kept."""
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square = Image.new("RGB", (side, side), "white")
    resized = image.resize(size, Image.Resampling.BILINEAR)
    square.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.array(square)


def _squeeze(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
