"""Shapes, textures and colours on a float RGB canvas in [0, 1].

S side of a square canvas in pixels. Coordinates are (x, y) in pixels from the upper left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Canvas = NDArray[np.float32]
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Microscope:
    """What differs between laboratories: stain, lamp, lens and camera.

    Attributes:
        stain: Factor on the optical density of red, green and blue.
        light: Factor on the brightness of red, green and blue.
        blur: Standard deviation in pixels that the lens adds to the focus error.
        noise: Standard deviation of the sensor's noise, of a range of 1.
    """

    stain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.0
    noise: float = 0.012


USUAL_MICROSCOPE: Final = Microscope()


def draw_blob(
    size: int,
    center: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    wobble: float,
    rng: np.random.Generator,
) -> Plane:
    """Return soft coverage in [0, 1], (S, S), of an ellipse with an uneven outline.

    Args:
        size: S.
        center: Of the ellipse.
        radii: Half axes in pixels.
        angle: Of the first axis, radians.
        wobble: Relative height of the outline's waves.
        rng: Source of the waves.
    """
    plane = np.zeros((size, size), dtype=np.float32)
    reach = max(radii) * (1 + 2 * wobble) + 2
    rows, columns = _box(size, center[1], reach), _box(size, center[0], reach)
    y, x = np.mgrid[rows, columns].astype(np.float32)
    x, y = x - np.float32(center[0]), y - np.float32(center[1])
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(along / radii[0], across / radii[1])
    theta = np.arctan2(across, along)
    outline = np.ones_like(distance)
    for waves in (2, 3, 5):
        outline += wobble / waves * np.cos(waves * theta + rng.uniform(0, 2 * np.pi))
    edge = (outline - distance) * min(radii) / 1.5
    plane[rows, columns] = np.clip(edge + 0.5, 0, 1)
    return plane


def draw_segment(
    size: int, start: tuple[float, float], end: tuple[float, float], width: float
) -> Plane:
    """Return soft coverage, (S, S), of a straight strand `width` pixels wide."""
    x, y = _offsets(size, start)
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    return np.clip(width / 2 - distance + 0.5, 0, 1).astype(np.float32)


def draw_granules(
    size: int,
    where: Plane,
    number: int,
    radius: tuple[float, float],
    rng: np.random.Generator,
) -> Plane:
    """Return coverage of `number` dots with radii between `radius`, centred inside `where`."""
    coverage = np.zeros((size, size), dtype=np.float32)
    inside = np.argwhere(where > 0.6)
    if len(inside) == 0:
        return coverage
    for y, x in inside[rng.integers(len(inside), size=number)]:
        stamp_disc(coverage, (float(x), float(y)), rng.uniform(*radius), rng.uniform(0.6, 1.0))
    return coverage


def stamp_disc(plane: Plane, center: tuple[float, float], radius: float, value: float) -> None:
    """Raise `plane` in place to `value` within a soft disc."""
    rows, columns = (_box(len(plane), at, radius + 2) for at in reversed(center))
    y, x = np.ogrid[rows, columns]
    disc = np.clip(radius - np.hypot(x - center[0], y - center[1]) + 0.5, 0, 1) * value
    plane[rows, columns] = np.maximum(plane[rows, columns], disc)


def smooth_noise(size: int, sigma: float, rng: np.random.Generator) -> Plane:
    """Return Gaussian noise smoothed over `sigma` pixels, (S, S), with mean 0 and sd 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    scaled: Plane = ((noise - noise.mean()) / max(float(noise.std()), 1e-9)).astype(np.float32)
    return scaled


def paint(canvas: Canvas, coverage: Plane, colour: Sequence[float] | Canvas) -> None:
    """Lay `colour` (RGB in [0, 1], or a canvas) over `canvas` in place where `coverage` is 1."""
    target = np.asarray(colour, dtype=np.float32)
    canvas += coverage[:, :, None] * (target - canvas)


def develop(
    canvas: Canvas,
    stain_spread: float,
    rng: np.random.Generator,
    microscope: Microscope = USUAL_MICROSCOPE,
) -> NDArray[np.uint8]:
    """Return the canvas as 8-bit RGB, with a microscope's accidents.

    The optical density of each channel is scaled (another stain batch), the light falls off to
    one side, the focus is a little off, and the sensor adds noise.
    """
    size = canvas.shape[0]
    density = -np.log(np.clip(canvas, 0.02, 1.0))
    density *= 1 + rng.uniform(-stain_spread, stain_spread)
    density *= 1 + rng.uniform(-stain_spread, stain_spread, size=3) / 2
    image = np.exp(-density * np.asarray(microscope.stain, dtype=np.float32))
    x, y = _offsets(size, (size / 2, size / 2))
    tilt = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.12) * (x * np.cos(tilt) + y * np.sin(tilt)) / size
    image = image * (light * rng.uniform(0.92, 1.06))[:, :, None] * np.asarray(microscope.light)
    blur = rng.uniform(0.3, 1.1) + microscope.blur
    image = ndimage.gaussian_filter(image, (blur, blur, 0))
    image = image + rng.normal(0, microscope.noise, size=image.shape)
    pixels: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return pixels


def _offsets(size: int, center: tuple[float, float]) -> tuple[Plane, Plane]:
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return x - np.float32(center[0]), y - np.float32(center[1])


def _box(size: int, center: float, reach: float) -> slice:
    """Return the pixels of one axis within `reach` of `center`, cut to the canvas."""
    start = min(max(0, int(center - reach)), size)
    return slice(start, max(start, min(size, int(center + reach) + 2)))
