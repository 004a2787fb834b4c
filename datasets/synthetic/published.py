"""Synthetic cells in the layouts in which cell sets are published, written once to the cache.

The readers of ``datasets/sources`` then read them as they read the real sets, whose numbers they
miss.
"""

from __future__ import annotations

import csv
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.synthetic.cells import draw_cell
from datasets.synthetic.layouts import CELL_LAYOUTS, CellFolder, CellLayout, PublishedSizes
from datasets.synthetic.smear_copies import (
    COPIES,
    IMAGE_ROOT,
    PHOTOGRAPHS,
    count_smear_images,
    draw_siblings,
    draw_smear_images,
)
from datasets.synthetic.storage import draw_once, generator_of, save_image, write_marker

SyntheticSource = Literal["raabin", "aml", "pbc", "kaggle_blood_cells"]
SYNTHETIC_SOURCES: Final[tuple[SyntheticSource, ...]] = get_args(SyntheticSource)

TRUTH_NAME: Final = "photographs.csv"
"""The photograph of each Kaggle image; ``prepare_wbc.py --groups`` takes it."""

_GENERATOR_VERSION: Final = 1


def ensure_synthetic_published(cache_root: Path, source: str, scale: int = 1) -> Path:
    """Return the root of a synthetic set in the layout of `source`, drawing it if need be.

    Args:
        cache_root: Folder of what can be made again.
        source: One of `SYNTHETIC_SOURCES`.
        scale: Times the default number of images, some 400 to 600.

    Raises:
        DatasetError: There is no such layout, or `scale` is less than 1.
    """
    layout = _describe_layout(source)
    sizes = PublishedSizes(scale=scale)
    identity = {"version": _GENERATOR_VERSION, "layout": layout, **asdict(sizes)}
    write = partial(write_synthetic_published, source=source, sizes=sizes)
    return draw_once(cache_root, f"synthetic-{source}", identity, write)


def write_synthetic_published(root: Path, source: str, sizes: PublishedSizes) -> None:
    """Draw a set in the layout of `source` into `root`; the same sizes give the same files.

    Raises:
        DatasetError: There is no such layout.
    """
    layout = _describe_layout(source)
    facts = {"version": _GENERATOR_VERSION, "source": source, **asdict(sizes), "layout": layout}
    write_marker(root, facts)
    if source in CELL_LAYOUTS:
        _write_cells(root, source, CELL_LAYOUTS[source], sizes)
    else:
        _write_smears(root, sizes)


def draw_published_sheet(source: str, columns: int, seed: int) -> Image.Image:
    """Return a contact sheet: a row a folder of cells, or a row a Kaggle class with copies.

    A Kaggle row begins with the photograph; its copies follow.

    Raises:
        DatasetError: There is no such layout.
    """
    _describe_layout(source)
    sizes = PublishedSizes(seed=seed)
    if source in CELL_LAYOUTS:
        layout = CELL_LAYOUTS[source]
        rows = [
            [_draw_cell(source, layout, folder, index, sizes) for index in range(columns)]
            for folder in layout.folders
        ]
    else:
        rows = [
            draw_siblings(f"TRAIN/{label.upper()}", label, 0, columns - 1, sizes)
            for label in PHOTOGRAPHS["TRAIN"]
        ]
    sheet = Image.fromarray(np.vstack([np.hstack(row) for row in rows]))
    return sheet if source in CELL_LAYOUTS else sheet.reduce(2)


def _describe_layout(source: str) -> dict[str, Any]:
    """Return all that tells one version of a layout from another, as JSON has it."""
    if source in CELL_LAYOUTS:
        return asdict(CELL_LAYOUTS[source])
    if source in SYNTHETIC_SOURCES:
        return {"photographs": dict(PHOTOGRAPHS), "copies": dict(COPIES)}
    raise DatasetError(
        f"No synthetic images in the layout of {source!r}. There are: "
        f"{', '.join(SYNTHETIC_SOURCES)}. For another set pass --data-root."
    )


def _write_cells(root: Path, source: str, layout: CellLayout, sizes: PublishedSizes) -> None:
    planned = [
        (folder, index) for folder in layout.folders for index in range(sizes.count(folder.number))
    ]
    for folder, index in tqdm(planned, desc=f"drawing {source}", unit="image", disable=None):
        path = root / layout.root / folder.folder / folder.file_name.format(index + 1)
        save_image(path, _draw_cell(source, layout, folder, index, sizes))


def _draw_cell(
    source: str, layout: CellLayout, folder: CellFolder, index: int, sizes: PublishedSizes
) -> NDArray[np.uint8]:
    width, height = layout.scale_to(sizes.width)
    rng = generator_of(sizes.seed, f"{source}/{folder.folder}/{folder.file_name}", index)
    kind = folder.kinds[index % len(folder.kinds)]
    picture, _ = draw_cell(kind, max(width, height), rng, folder.microscope)
    return picture[:height, :width]


def _write_smears(root: Path, sizes: PublishedSizes) -> None:
    rows = []
    images = tqdm(
        draw_smear_images(sizes),
        total=count_smear_images(sizes),
        desc="drawing kaggle_blood_cells",
        unit="image",
        disable=None,
    )
    for image in images:
        save_image(root / IMAGE_ROOT / image.name, image.pixels)
        rows.append((image.name, image.photograph))
    with (root / TRUTH_NAME).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "group"))
        writer.writerows(sorted(rows))
