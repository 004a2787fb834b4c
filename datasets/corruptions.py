"""Graded corruptions of cell images: what another microscope, stain or storage does to them.

| corruption | what | amount at severity 1 to 5 | unit |
|---|---|---|---|
| blur | Gaussian | 0.4, 0.8, 1.2, 1.8, 2.5 | standard deviation, % of the shorter side |
| noise | Gaussian, by pixel and color | 6, 12, 20, 32, 48 | standard deviation, gray levels |
| brightness | a dimmer lamp | 15, 30, 45, 60, 75 | % of the light lost |
| stain | more or less of two stains | 10, 20, 30, 45, 60 | change of each, % |
| jpeg | stored with loss, color at half size | 50, 30, 20, 10, 5 | quality of 100 |
| defocus | a disc | 0.75, 1.25, 2, 3, 4 | radius, % of the shorter side |

Blur and defocus are shares of the image, since networks look at images scaled to one size; noise
has the grain of the image's own pixels, as a camera's has. Below 70 pixels the least defocus stays
within one pixel and changes nothing. Severities were graded as in ImageNet-C
(Hendrycks and Dietterich, ICLR 2019), their amounts chosen here. The stain changes along
haematoxylin and eosin (Ruifrok and Johnston, 2001), each up or down by chance, which stand for the
azure and eosin of blood smears.
"""

# H W height and width in pixels

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CorruptionName = Literal["blur", "noise", "brightness", "stain", "jpeg", "defocus"]
CORRUPTION_NAMES: Final[tuple[CorruptionName, ...]] = get_args(CorruptionName)
MAX_SEVERITY: Final = 5

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

STAINS: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical densities (red, green, blue) of haematoxylin, eosin and DAB, here the residual."""

_SUPERSAMPLING: Final = 16


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Attributes:
        title: What pictures call it.
        unit: Of the amounts.
        amounts: At severity 1 to 5, each farther from the clean image than the one before.
        apply: Takes an image (H, W, 3), an amount and a generator; returns an image of its size.
    """

    title: str
    unit: str
    amounts: tuple[float, ...]
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]


def corrupt(
    image: Pixels, name: CorruptionName, severity: int, *, seed: int, image_id: str
) -> Pixels:
    """Return the image, uint8 (H, W, 3), corrupted; severity 0 returns it as it is.

    What is drawn depends on seed, corruption and `image_id` only: it is the same at each severity,
    which only scales it, and whatever other images there are.

    Args:
        image: Uint8 (H, W, 3), RGB.
        name: Of the corruption.
        severity: 0 to 5.
        seed: Of what is drawn.
        image_id: Of the image.

    Raises:
        ValueError: The image is no uint8 (H, W, 3), or there is no such corruption or severity.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"Corruptions take uint8 images of shape (H, W, 3), not {image.dtype} {image.shape}."
        )
    if name not in CORRUPTIONS or not 0 <= severity <= MAX_SEVERITY:
        raise ValueError(
            f"There is no corruption {name!r} of severity {severity}; known: "
            f"{', '.join(CORRUPTIONS)}, each of 0 to {MAX_SEVERITY}."
        )
    if severity == 0:
        return image
    key = f"{seed}/{name}/{image_id}".encode("utf-8", "surrogateescape")
    generator = np.random.default_rng(list(hashlib.sha256(key).digest()))
    corruption = CORRUPTIONS[name]
    return corruption.apply(image, corruption.amounts[severity - 1], generator)


def _blur(image: Pixels, percent: float, _: np.random.Generator) -> Pixels:
    deviation = _in_pixels(image, percent)
    blurred = cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, dtype=np.uint8)


def _add_noise(image: Pixels, deviation: float, generator: np.random.Generator) -> Pixels:
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return _to_uint8(image + np.float32(deviation) * noise)


def _dim(image: Pixels, percent: float, _: np.random.Generator) -> Pixels:
    return _to_uint8(image * np.float32(1 - percent / 100))


def _restain(image: Pixels, percent: float, generator: np.random.Generator) -> Pixels:
    """Change the amounts of two stains in optical density, which is linear in them."""
    signs = generator.choice([-1.0, 1.0], size=2)
    factors = np.array([*(1 + signs * percent / 100), 1.0])
    change = np.linalg.inv(STAINS) @ np.diag(factors) @ STAINS
    # Black would be infinitely dense.
    density = -np.log(np.maximum(image, 1) / np.float32(255))
    return _to_uint8(255 * np.exp(-(density @ change.astype(np.float32))))


def _compress(image: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    with Image.open(buffer) as stored:
        return np.array(stored.convert("RGB"))


def _defocus(image: Pixels, percent: float, _: np.random.Generator) -> Pixels:
    kernel = make_disc(_in_pixels(image, percent))
    blurred = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, dtype=np.uint8)


def make_disc(radius: float) -> Floats:
    """Return the kernel of a lens out of focus: a disc of `radius` in pixels, sum 1.

    A pixel at the rim weighs as much of it as the disc covers, so that radii need not be whole.
    """
    reach = int(np.ceil(radius + 0.5))
    steps = (np.arange((2 * reach + 1) * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - reach - 0.5
    is_inside = steps[:, None] ** 2 + steps**2 <= radius**2
    side = 2 * reach + 1
    covered = is_inside.reshape(side, _SUPERSAMPLING, side, _SUPERSAMPLING).mean(axis=(1, 3))
    if not covered.any():
        covered[reach, reach] = 1
    kernel: Floats = (covered / covered.sum()).astype(np.float32)
    return kernel


def _in_pixels(image: Pixels, percent: float) -> float:
    side: int = min(image.shape[:2])
    return percent / 100 * side


def _to_uint8(values: NDArray[np.floating]) -> Pixels:
    pixels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


CORRUPTIONS: Final[dict[CorruptionName, Corruption]] = {
    "blur": Corruption("Gaussian blur", "sd, % of side", (0.4, 0.8, 1.2, 1.8, 2.5), _blur),
    "noise": Corruption("noise", "sd, gray levels", (6, 12, 20, 32, 48), _add_noise),
    "brightness": Corruption("brightness", "% of light lost", (15, 30, 45, 60, 75), _dim),
    "stain": Corruption("stain", "± % of each stain", (10, 20, 30, 45, 60), _restain),
    "jpeg": Corruption("JPEG", "quality", (50, 30, 20, 10, 5), _compress),
    "defocus": Corruption("defocus", "radius, % of side", (0.75, 1.25, 2, 3, 4), _defocus),
}
"""Every corruption by name; the table above explains the units."""
