"""What masks of cells tell: regions, areas, boxes, crops, and whether a mask lies on its cell."""

# H W height width in pixels; boxes are half-open, in pixels from the upper left corner

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from datasets.errors import DatasetError
from datasets.images import read_image

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Beyond = Literal["clip", "pad"]

BACKGROUND: Final = 0
CYTOPLASM: Final = 1
NUCLEUS: Final = 2
REGION_LEVELS: Final = (0, 128, 255)
"""Gray level of background, cytoplasm and nucleus in the masks of segmentation_WBC."""

_WITH_CORNERS: Final = np.ones((3, 3), dtype=np.int64)
_NEAREST_REGION: Final = (
    np.abs(np.arange(256)[:, None] - np.array(REGION_LEVELS)[None]).argmin(axis=1).astype(np.uint8)
)


@dataclass(frozen=True)
class CellRegions:
    """A mask of three levels, read.

    Attributes:
        regions: `BACKGROUND`, `CYTOPLASM` or `NUCLEUS` at each pixel, uint8 (H, W).
        num_stray: Pixels whose level was none of `REGION_LEVELS` and was taken as the nearest.
    """

    regions: Pixels
    num_stray: int

    @property
    def inside(self) -> Mask:
        """Where the cell is, (H, W)."""
        inside: Mask = self.regions != BACKGROUND
        return inside

    @property
    def nucleus_area(self) -> int:
        """Pixels of the nucleus."""
        return int((self.regions == NUCLEUS).sum())

    @property
    def cytoplasm_area(self) -> int:
        """Pixels of the cytoplasm."""
        return int((self.regions == CYTOPLASM).sum())

    @property
    def nucleus_to_cytoplasm(self) -> float:
        """Ratio of the areas; infinite without cytoplasm, NaN for an empty mask."""
        if self.cytoplasm_area:
            return self.nucleus_area / self.cytoplasm_area
        return float("inf") if self.nucleus_area else float("nan")

    @property
    def nucleus_fraction(self) -> float:
        """Share of the cell that is nucleus, in [0, 1]; NaN for an empty mask."""
        cell = self.nucleus_area + self.cytoplasm_area
        return self.nucleus_area / cell if cell else float("nan")


class Box(NamedTuple):
    """A rectangle of pixels; `right` and `bottom` are the first that lie outside."""

    left: int
    top: int
    right: int
    bottom: int


def read_regions(path: Path, size: tuple[int, int]) -> CellRegions:
    """Return the regions of a three-level mask.

    Args:
        path: A gray image, near 0, 128 and 255.
        size: (width, height) of the image that the mask belongs to.

    Raises:
        UnreadableImageError: The file does not decode.
        DatasetError: The mask has another size than its image.
    """
    mask = read_image(path).convert("L")
    require_same_size(mask.size, size, str(path))
    return to_regions(np.asarray(mask))


def to_regions(levels: Pixels) -> CellRegions:
    """Return the regions of mask levels (H, W); stray levels count as the nearest one."""
    num_stray = int((~np.isin(levels, REGION_LEVELS)).sum())
    return CellRegions(_NEAREST_REGION[levels], num_stray)


def apply_mask(pixels: Pixels, inside: Mask) -> Pixels:
    """Return the image (H, W, C) or (H, W), black outside the mask (H, W).

    Raises:
        DatasetError: They differ in height or width.
    """
    _require_same_shape(pixels, inside)
    return np.where(inside[:, :, None] if pixels.ndim == 3 else inside, pixels, 0).astype(np.uint8)


def find_boxes(inside: Mask, min_area: int = 1) -> list[Box]:
    """Return the box of each connected part of a mask, from the largest part to the smallest.

    Pixels that touch at a corner are connected. Parts of fewer than `min_area` pixels are left
    out; an empty mask has no box.
    """
    parts, number = ndimage.label(inside, structure=_WITH_CORNERS)
    areas = np.bincount(parts.ravel(), minlength=number + 1)[1:]
    boxes = [
        Box(columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in ndimage.find_objects(parts)
    ]
    order = np.argsort(-areas, kind="stable")
    return [boxes[index] for index in order if areas[index] >= min_area]


def crop_box(
    pixels: Pixels, box: Box, margin: int = 0, *, beyond: Beyond = "clip", fill: int = 255
) -> Pixels:
    """Return a copy of the box and `margin` pixels around it.

    Args:
        pixels: Image (H, W, C) or (H, W).
        box: May reach beyond the image, but must share a pixel with it.
        margin: Pixels added on each side, 0 or more.
        beyond: What becomes of the part outside the image: ``clip`` leaves it out, so the crop is
            smaller and the cell off its centre; ``pad`` fills it, so the crop always has the
            size of the box and both margins.
        fill: Level of padded pixels; white is the colour of an empty slide.

    Raises:
        DatasetError: The box is empty or lies outside the image, or the margin is negative.
    """
    height, width = pixels.shape[:2]
    if margin < 0:
        raise DatasetError(f"The margin around a box must be 0 or more pixels, not {margin}.")
    if box.right <= box.left or box.bottom <= box.top:
        raise DatasetError(f"{box} is empty: right and bottom must lie beyond left and top.")
    if box.right <= 0 or box.bottom <= 0 or box.left >= width or box.top >= height:
        raise DatasetError(f"{box} lies outside its image of {width}x{height} pixels.")
    left, top = box.left - margin, box.top - margin
    right, bottom = box.right + margin, box.bottom + margin
    inner = pixels[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    if beyond == "clip":
        return inner.copy()
    outside = [
        (max(0, -top), max(0, bottom - height)),
        (max(0, -left), max(0, right - width)),
    ]
    no_padding = [(0, 0)] * (pixels.ndim - 2)
    return np.pad(inner, [*outside, *no_padding], constant_values=fill)


def require_same_size(mask_size: tuple[int, int], size: tuple[int, int], mask_name: str) -> None:
    """Raise unless a mask has the (width, height) of its image.

    Raises:
        DatasetError: It has not.
    """
    if mask_size != size:
        raise DatasetError(
            f"{mask_name}: the mask has {mask_size[0]}x{mask_size[1]} pixels, its image "
            f"{size[0]}x{size[1]}. A mask must lie on its image pixel by pixel."
        )


def _require_same_shape(pixels: Pixels, inside: Mask) -> None:
    height, width = pixels.shape[:2]
    require_same_size((inside.shape[1], inside.shape[0]), (width, height), "A mask")
