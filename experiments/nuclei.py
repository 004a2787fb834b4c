"""Measures nucleus and cytoplasm of masked cells, and collects outlines to look at."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from datasets.cell_masks import (
    BACKGROUND,
    CellRegions,
    Pixels,
    crop_box,
    find_boxes,
    read_regions,
)
from datasets.errors import DatasetError
from datasets.images import read_image
from datasets.mask_alignment import check_alignment
from datasets.sources.segmentation_wbc import read_segmentation_wbc
from datasets.taxonomy import WBC_CLASSES

_MAX_OUTLINED: Final = 8
_CROP_MARGIN: Final = 8

log = logging.getLogger(__name__)


class MaskedCell(NamedTuple):
    """A cell, its mask and its class."""

    cell_id: str
    image_path: Path
    mask_path: Path
    label: str


@dataclass(frozen=True)
class MeasuredCells:
    """What was measured of a set.

    Attributes:
        cells: A row a cell.
        outlined: Cut-out images (H, W, 3) with their regions (H, W) by class, a few each.
        suspicious: A few whole images with regions that do not lie on the cell.
        num_unusable: Pairs of image and mask that do not decode or fit.
    """

    cells: pd.DataFrame
    outlined: dict[str, list[tuple[Pixels, Pixels]]]
    suspicious: list[tuple[Pixels, Pixels]]
    num_unusable: int


def measure_cells(root: Path) -> MeasuredCells:
    """Return areas and alignment of every cell of segmentation_WBC below `root`.

    Raises:
        DatasetError: The set is not there, or no pair of image and mask is usable.
    """
    rows: list[dict[str, Any]] = []
    outlined: dict[str, list[tuple[Pixels, Pixels]]] = {name: [] for name in WBC_CLASSES}
    suspicious: list[tuple[Pixels, Pixels]] = []
    pairs = _list_masked_cells(root)
    for cell in tqdm(pairs, desc="masks", unit="cell", leave=False, disable=None):
        try:
            image = np.asarray(read_image(cell.image_path))
            found = read_regions(cell.mask_path, (image.shape[1], image.shape[0]))
        except DatasetError as error:
            log.warning("Left out: %s", error)
            continue
        rows.append(_measure(cell, image, found))
        if rows[-1]["problem"]:
            suspicious.append((image, found.regions))
        elif len(outlined[cell.label]) < _MAX_OUTLINED:
            outlined[cell.label].append(_cut_out(image, found))
    if not rows:
        raise DatasetError(f"No usable pair of image and mask under {root}.")
    unusable = len(pairs) - len(rows)
    return MeasuredCells(pd.DataFrame(rows), outlined, suspicious[:_MAX_OUTLINED], unusable)


def _list_masked_cells(root: Path) -> list[MaskedCell]:
    return [
        MaskedCell(image.image_id, image.path, image.mask_path, image.label)
        for image in read_segmentation_wbc(root).images
        if image.path is not None and image.mask_path is not None
    ]


def _measure(cell: MaskedCell, image: Pixels, found: CellRegions) -> dict[str, Any]:
    alignment = check_alignment(image, found.inside)
    return {
        "cell_id": cell.cell_id,
        "class": cell.label,
        "nucleus_pixels": found.nucleus_area,
        "cytoplasm_pixels": found.cytoplasm_area,
        "nucleus_to_cytoplasm": found.nucleus_to_cytoplasm,
        "nucleus_fraction": found.nucleus_fraction,
        "parts": len(find_boxes(found.inside)),
        "stray_pixels": found.num_stray,
        "coverage": alignment.coverage,
        "problem": alignment.problem,
    }


def _cut_out(image: Pixels, found: CellRegions) -> tuple[Pixels, Pixels]:
    """Return the largest part of the mask with a margin, padded at the border, and its regions."""
    box = find_boxes(found.inside)[0]
    crop = crop_box(image, box, _CROP_MARGIN, beyond="pad")
    return crop, crop_box(found.regions, box, _CROP_MARGIN, beyond="pad", fill=BACKGROUND)
