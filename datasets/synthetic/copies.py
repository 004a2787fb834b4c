"""Augmented copies of photographs, the way the Kaggle blood-cell set was made of BCCD.

Each copy is reduced, flipped, turned by up to 20 degrees and shifted by up to a fifth, and what
that leaves open is filled with one value or with the nearest pixels. A few photographs get very
many copies, most get few, so the truth (which copy is of which photograph) is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.images import read_image

Fill = Literal["constant", "nearest"]
Order = Literal[0, 1]

_FILLS: Final[dict[Fill, int]] = {
    "constant": cv2.BORDER_CONSTANT,
    "nearest": cv2.BORDER_REPLICATE,
}
_INTERPOLATIONS: Final[dict[Order, int]] = {0: cv2.INTER_NEAREST, 1: cv2.INTER_LINEAR}


@dataclass(frozen=True)
class CopyRecipe:
    """How copies are made.

    Attributes:
        size: (width, height) of a copy in pixels.
        max_degrees: Largest rotation, either way.
        max_shift: Largest shift as a share of width and height, in [0, 1].
        max_stretch: Largest relative change of size, in [0, 1].
        max_brightness: Largest relative change of brightness, in [0, 1].
        most_copies: Of one photograph.
        fills: Ways to fill what is left open: constant (black), nearest.
        orders: Of the interpolation: 0 nearest pixel, as the Kaggle set seems to have, 1 linear.
    """

    size: tuple[int, int] = (320, 240)
    max_degrees: float = 20.0
    max_shift: float = 0.2
    max_stretch: float = 0.0
    max_brightness: float = 0.1
    most_copies: int = 155
    fills: tuple[Fill, ...] = ("constant", "nearest")
    orders: tuple[Order, ...] = (0, 1)


def write_copies(
    photographs: Sequence[Path],
    folder: Path,
    num_images: int,
    seed: int,
    recipe: CopyRecipe | None = None,
) -> dict[Path, Path]:
    """Write `num_images` copies into `folder`; return the photograph of each copy.

    The number of copies of a photograph varies as a log-normal variable does, with at least one
    for each photograph while `num_images` allows.

    Raises:
        DatasetError: There is no photograph, or more copies are asked for than allowed.
        UnreadableImageError: A photograph does not decode.
    """
    recipe = recipe or CopyRecipe()
    rng = np.random.default_rng(seed)
    counts = draw_counts(len(photographs), num_images, recipe.most_copies, rng)
    folder.mkdir(parents=True, exist_ok=True)
    names = iter(rng.permutation(num_images).tolist())
    photograph_of: dict[Path, Path] = {}
    bar = tqdm(total=num_images, desc="writing copies", unit="image", disable=None)
    for photograph, count in zip(photographs, counts, strict=True):
        image = read_image(photograph) if count else None
        for _ in range(count):
            assert image is not None
            path = folder / f"{next(names):06d}.jpg"
            copy = Image.fromarray(draw_copy(image, recipe, rng))
            copy.save(path, quality=int(rng.integers(75, 96)))
            photograph_of[path] = photograph
            bar.update()
    bar.close()
    return photograph_of


def draw_copy(
    image: Image.Image, recipe: CopyRecipe, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return one augmented copy, uint8 (H, W, 3)."""
    small = np.asarray(image.resize(recipe.size, Image.Resampling.BILINEAR))
    if rng.random() < 0.5:
        small = small[:, ::-1]
    if rng.random() < 0.5:
        small = small[::-1]
    angle = np.deg2rad(rng.uniform(-recipe.max_degrees, recipe.max_degrees))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag(1 + rng.uniform(-recipe.max_stretch, recipe.max_stretch, size=2))
    size = np.array(recipe.size)
    shift = rng.uniform(-recipe.max_shift, recipe.max_shift, size=2) * size
    middle = (size - 1) / 2
    interpolation = _INTERPOLATIONS[recipe.orders[rng.integers(len(recipe.orders))]]
    moved = cv2.warpAffine(
        np.ascontiguousarray(small),
        np.column_stack([turn, middle - turn @ (middle + shift)]),
        recipe.size,
        flags=cv2.WARP_INVERSE_MAP | interpolation,
        borderMode=_FILLS[recipe.fills[rng.integers(len(recipe.fills))]],
    )
    gain = 1 + rng.uniform(-recipe.max_brightness, recipe.max_brightness)
    pixels: NDArray[np.uint8] = np.clip(np.asarray(moved) * gain, 0, 255).astype(np.uint8)
    return pixels


def draw_counts(
    num_photographs: int, num_images: int, most: int, rng: np.random.Generator
) -> list[int]:
    """Return how many copies each photograph gets, drawn as `write_copies` says.

    Raises:
        DatasetError: There is no photograph, or more copies are asked for than allowed.
    """
    if not num_photographs or num_images > most * num_photographs:
        raise DatasetError(
            f"{num_images} copies of {num_photographs} photographs are more than {most} of each. "
            "Give more photographs or ask for fewer copies."
        )
    counts = np.zeros(num_photographs, dtype=np.int64)
    counts[rng.permutation(num_photographs)[:num_images]] = 1
    weights = rng.lognormal(0.0, 1.0, size=num_photographs)
    while counts.sum() < num_images:
        is_open = (counts > 0) & (counts < most)
        shares = np.where(is_open, weights, 0) / weights[is_open].sum()
        extra = rng.multinomial(num_images - counts.sum(), shares)
        counts = np.minimum(counts + extra, most)
    return [int(count) for count in counts]
