"""The tiles of one slide in one HDF5 file: written whole, read a tile at a time.

Datasets, a row a tile: ``image`` uint8 (N, S, S, 3), one chunk a tile; ``crc32`` uint32 of its
sample id and bytes; ``sample_id``; ``corner`` int64 (N, 2), x and y in level-0 pixels; ``label``;
``tumor_fraction`` and ``tissue_fraction`` in [0, 1], the former NaN where nothing is known.
Attributes: the fields of `SlideFacts`, and ``table_sha256`` over them and all columns.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.image_files import MAX_PIXELS
from datasets.safe_hdf5 import (
    HDF5_ERRORS,
    get_dataset,
    read_attribute,
    read_column,
    read_texts,
    to_text,
    to_texts,
)

FORMAT_VERSION: Final = 4
TILES_FOLDER: Final = "slides"
"""Below the output folder; holds a file a slide, ``NAME.h5``."""

IGNORED: Final = "ignored"
"""Label of a tile with too much tumor for normal and too little for tumor."""
UNLABELLED: Final = "unlabelled"
"""Label of a tile of a slide that nothing is known of."""

_FREE_SPACE_MARGIN: Final = 1.05
_WRITEBACK_BYTES: Final = 16 * 2**20


@dataclass(frozen=True)
class SlideFacts:
    """What holds for all tiles of a slide.

    Attributes:
        slide_id: File name without suffix.
        group: What must not straddle splits.
        official_split: Of the set's authors; empty where they leave it open.
        slide_sha256: Hash of the slide file.
        source_key: Hash of what the tiles were made of: slide file, annotations.
        options: How they were cut, as JSON.
        tile_size: Side of a stored tile in pixels.
        level0_size: Side of a tile in level-0 pixels.
        level: That was read.
        read_size: Side of a tile in pixels of that level.
        mpp: Micrometres a pixel of a stored tile; 0 where the slide does not state it.
        is_synthetic: Whether the slide was drawn and not scanned.
    """

    slide_id: str
    group: str
    official_split: str
    slide_sha256: str
    source_key: str
    options: str
    tile_size: int
    level0_size: int
    level: int
    read_size: int
    mpp: float
    is_synthetic: bool = False


@dataclass(frozen=True)
class TileTable:
    """The tiles of a slide without their pixels; each field has a row a tile.

    Attributes:
        sample_ids: Unique in the whole set.
        corners: int64 (N, 2), x and y of the upper left corner in level-0 pixels.
        labels: normal, tumor, `IGNORED` or `UNLABELLED`.
        tumor_fractions: float64 (N,), NaN without labels.
        tissue_fractions: float64 (N,).
    """

    sample_ids: list[str]
    corners: NDArray[np.int64]
    labels: list[str]
    tumor_fractions: NDArray[np.float64]
    tissue_fractions: NDArray[np.float64]


def write_tiles(path: Path, facts: SlideFacts, table: TileTable, images: Iterable[bytes]) -> None:
    """Write a slide's tiles whole or not at all; `images` are RGB bytes in the order of the table.

    Raises:
        DatasetError: The disk has no room.
        OSError: The file cannot be written.
    """
    shape = (facts.tile_size, facts.tile_size, 3)
    number = len(table.sample_ids)
    _require_free_space(path.parent, number * facts.tile_size**2 * 3)
    with write_whole(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT_VERSION
        for name, value in asdict(facts).items():
            file.attrs[name] = to_text(value) if isinstance(value, str) else value
        file["sample_id"] = to_texts(table.sample_ids)
        file["corner"] = table.corners
        file["label"] = to_texts(table.labels)
        file["tumor_fraction"] = table.tumor_fractions
        file["tissue_fraction"] = table.tissue_fractions
        pixels = file.create_dataset(
            "image", shape=(number, *shape), dtype="uint8", chunks=(1, *shape)
        )
        checksums = np.empty(number, dtype=np.uint32)
        descriptor = file.id.get_vfd_handle()
        on_its_way = 0
        for row, image in enumerate(images):
            # A chunk is one tile as it is, so HDF5's own machinery has nothing to add.
            pixels.id.write_direct_chunk((row, 0, 0, 0), image)
            checksums[row] = _checksum(table.sample_ids[row], image)
            on_its_way = _begin_writeback(descriptor, on_its_way)
        file["crc32"] = checksums
        file.attrs["table_sha256"] = to_text(_hash_table(facts, table, checksums))


def read_table(path: Path) -> tuple[SlideFacts, TileTable]:
    """Return all but the pixels of the file at `path`; these are checked when they are read.

    Raises:
        DatasetError: It is broken, damaged, or of another version.
    """
    try:
        with open_tiles(path) as file:
            table = TileTable(
                sample_ids=read_texts(file, "sample_id"),
                corners=read_column(file, "corner").astype(np.int64).reshape(-1, 2),
                labels=read_texts(file, "label"),
                tumor_fractions=read_column(file, "tumor_fraction").astype(np.float64),
                tissue_fractions=read_column(file, "tissue_fraction").astype(np.float64),
            )
            facts = _parse_facts(path, file)
            checksums = TilePixels(file).checksums
            stated = read_attribute(file, "table_sha256")
    except HDF5_ERRORS as error:
        raise _broken(path, error) from error
    lengths = {len(getattr(table, field.name)) for field in fields(table)}
    if lengths != {len(checksums)}:
        raise _broken(path, ValueError("its columns differ in length"))
    if _hash_table(facts, table, checksums) != stated:
        raise _broken(path, ValueError("its table does not agree with its checksum"))
    return facts, table


def open_tiles(path: Path) -> h5py.File:
    """Return the open file.

    Raises:
        DatasetError: It is no HDF5 file, or of another version.
    """
    try:
        file = h5py.File(path)
    except HDF5_ERRORS as error:
        raise _broken(path, error) from error
    try:
        version = read_attribute(file, "format")
    except HDF5_ERRORS as error:
        file.close()
        raise _broken(path, error) from error
    if version != FORMAT_VERSION:
        file.close()
        raise DatasetError(
            f"{path} is of format {version}, expected {FORMAT_VERSION}. Delete it and cut the "
            "slide again with experiments/tile_slides.py."
        )
    return file


class TilePixels:
    """The pixels of all tiles of an open file, each compared with its checksum when it is read.

    Attributes:
        checksums: uint32 (N,), of sample id and pixels of each tile.
    """

    def __init__(self, file: h5py.File) -> None:
        """Find pixels and checksums in `file`, which stays open.

        Raises:
            ValueError: They are something else, or lie outside of the file.
            Exception: Another of `HDF5_ERRORS`.
        """
        images = get_dataset(file, "image")
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise ValueError(f"image is {images.dtype} of the shape {images.shape}")
        if images.shape[1] * images.shape[2] > MAX_PIXELS:
            raise ValueError(f"its tiles have {images.shape[1]}x{images.shape[2]} pixels")
        checksums = read_column(file, "crc32")
        if checksums.shape != images.shape[:1]:
            raise ValueError(f"it has {len(images)} tiles and {checksums.size} checksums")
        self._images, self.checksums = images, checksums

    def read(self, row: int, sample_id: str) -> NDArray[np.uint8]:
        """Return the tile in `row`, uint8 (S, S, 3).

        Raises:
            ValueError: It is damaged, or not that of `sample_id`.
            Exception: Another of `HDF5_ERRORS`.
        """
        tile = np.asarray(self._images[row], dtype=np.uint8)
        if _checksum(sample_id, tile.tobytes()) != self.checksums[row]:
            raise ValueError(f"row {row} does not agree with its checksum")
        return tile


def _checksum(sample_id: str, pixels: bytes) -> int:
    return zlib.crc32(pixels, zlib.crc32(sample_id.encode()))


def _hash_table(facts: SlideFacts, table: TileTable, checksums: NDArray[np.generic]) -> str:
    texts = [asdict(facts), table.sample_ids, table.labels]
    digest = hashlib.sha256(json.dumps(texts).encode())
    for column in (table.corners, table.tumor_fractions, table.tissue_fractions, checksums):
        digest.update(column.tobytes())
    return digest.hexdigest()


def _begin_writeback(descriptor: int, start: int) -> int:
    """Let the disk begin with what follows byte `start`, once it is much; return where it ends.

    The disk then works while tiles are read, and the file's end has little to wait for.
    """
    end = os.fstat(descriptor).st_size
    if sys.platform != "linux" or end - start < _WRITEBACK_BYTES:
        return start
    # Pages that are not on the disk yet are not dropped by this: their writing is begun.
    os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)
    return end


def _parse_facts(path: Path, file: h5py.File) -> SlideFacts:
    try:
        values: dict[str, Any] = {
            field.name: read_attribute(file, field.name) for field in fields(SlideFacts)
        }
        for name in ("tile_size", "level0_size", "level", "read_size"):
            values[name] = int(values[name])
        values["mpp"] = float(values["mpp"])
        values["is_synthetic"] = bool(values["is_synthetic"])
        json.loads(values["options"])
    except (*HDF5_ERRORS, RecursionError) as error:
        raise _broken(path, error) from error
    return SlideFacts(**values)


def _broken(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path} is no whole tile file ({error}). Delete it and cut the slide again with "
        "experiments/tile_slides.py."
    )


def _require_free_space(folder: Path, num_bytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < num_bytes * _FREE_SPACE_MARGIN:
        raise DatasetError(
            f"The tiles need {num_bytes / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB free. "
            "Free some, pass an --out on another disk, or fewer tiles with --max-tiles."
        )
