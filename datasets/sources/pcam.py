"""PatchCamelyon: lymph node tiles of Camelyon16 in HDF5 files."""

from __future__ import annotations

import csv
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import h5py
import numpy as np
from PIL import Image

from datasets.errors import DatasetError
from datasets.published import PublishedImage, PublishedSet, compare_counts, find_folder
from datasets.safe_hdf5 import HDF5_ERRORS, get_dataset, read_column
from datasets.taxonomy import TILE_CLASSES, Split

PARTS: Final[MappingProxyType[str, Split]] = MappingProxyType(
    {"train": "train", "valid": "val", "test": "test"}
)
PUBLISHED: Final = {"train": 262_144, "valid": 32_768, "test": 32_768}
"""By the README of basveeling/pcam."""
_TILE_SHAPE: Final = (96, 96, 3)
_FILE: Final = "camelyonpatch_level_2_split_{part}_{kind}"


def read_pcam(root: Path) -> PublishedSet:
    """Return the tiles of the parts that are there.

    Card:
        What: 327,680 tiles, 96x96 RGB, 10x (0.97 um per pixel), of H&E slides of sentinel lymph
            nodes (Camelyon16).
        Classes: normal, tumor (a pixel of tumor in the middle 32x32), half each.
        Splits: train 262,144, valid 32,768, test 32,768, by the authors; no slide is in two. Where
            the meta CSV is there, the slide is the group.
        Licence: CC0.
        Citation: Veeling et al., MICCAI 2018, arXiv 1806.03962.
        Source: https://github.com/basveeling/pcam
        Folders: ``camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5`` (unpacked from .gz)
            and, if wanted, ``..._meta.csv``; flat in `root` or its ``pcam``.

    Raises:
        DatasetError: A file is missing, still packed, truncated or has another shape.
    """
    folder = find_folder(root, "pcam")
    parts = [p for p in PARTS if (folder / f"{_FILE.format(part=p, kind='x')}.h5").is_file()]
    if not parts:
        packed = sorted(folder.glob("camelyonpatch*.h5.gz")) if folder.is_dir() else []
        found = f"{packed[0].name} is still packed: gunzip it" if packed else "no such file"
        raise DatasetError(
            f"{folder}: {found}. Expected {_FILE.format(part='train', kind='x')}.h5 and ..._y.h5, "
            "likewise valid and test. See README, Data."
        )
    images: list[PublishedImage] = []
    counts = {}
    for part in parts:
        path = folder / f"{_FILE.format(part=part, kind='x')}.h5"
        labels = _read_labels(folder / f"{_FILE.format(part=part, kind='y')}.h5")
        _require_tiles(path, len(labels))
        slides = _read_slides(folder / f"{_FILE.format(part=part, kind='meta')}.csv", len(labels))
        counts[part] = len(labels)
        images += [
            PublishedImage(
                image_id=f"{part}/{TILE_CLASSES[label]}/{index:06d}.png",
                label=TILE_CLASSES[label],
                make=partial(_read_tile, path, index),
                part=part,
                group=slides[index] if slides else "",
            )
            for index, label in enumerate(labels)
        ]
    return PublishedSet(
        name="PatchCamelyon",
        classes=TILE_CLASSES,
        images=tuple(images),
        root=folder,
        parts=PARTS,
        differences=tuple(compare_counts("", counts, PUBLISHED)),
    )


def _read_labels(path: Path) -> list[int]:
    try:
        with h5py.File(path) as file:
            values = read_column(file, "y")
    except HDF5_ERRORS as error:
        raise DatasetError(f"{path} cannot be read ({error}). Download it again.") from error
    labels = values.reshape(-1)
    if len(labels) != len(values) or not np.isin(labels, (0, 1)).all():
        raise DatasetError(f"{path}: expected y of shape (N, 1, 1, 1) with 0 and 1.")
    return [int(label) for label in labels]


def _require_tiles(path: Path, number: int) -> None:
    try:
        with h5py.File(path) as file:
            tiles = get_dataset(file, "x")
            shape, dtype = tiles.shape, tiles.dtype
    except HDF5_ERRORS as error:
        raise DatasetError(f"{path} cannot be read ({error}). Download it again.") from error
    if shape != (number, *_TILE_SHAPE) or dtype != np.uint8:
        raise DatasetError(
            f"{path}: x is {dtype} {shape}, expected uint8 ({number}, 96, 96, 3) to fit its labels."
        )


def _read_slides(path: Path, number: int) -> list[str]:
    """Return the slide of each tile, or nothing where the meta CSV is absent."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            slides = [row["wsi"] for row in csv.DictReader(file, restval="")]
    except (OSError, csv.Error, UnicodeDecodeError, KeyError) as error:
        raise DatasetError(f"{path} is no CSV with a column wsi ({error}).") from error
    if len(slides) != number:
        raise DatasetError(f"{path} has {len(slides)} rows for {number} tiles.")
    return slides


@lru_cache(maxsize=1)
def _open(path: Path) -> h5py.File:
    return h5py.File(path)


def _read_tile(path: Path, index: int) -> Image.Image:
    try:
        return Image.fromarray(get_dataset(_open(path), "x")[index])
    except HDF5_ERRORS as error:
        raise DatasetError(
            f"{path}: tile {index} cannot be read ({error}). Download it again."
        ) from error
