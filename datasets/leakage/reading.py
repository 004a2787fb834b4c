"""The pixels that the audit compares: of image files, and of tiles inside a slide's HDF5 file."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image

from datasets.errors import DatasetError, UnreadableImageError
from datasets.images import read_image
from datasets.safe_hdf5 import HDF5_ERRORS, read_texts
from datasets.samples import hash_file
from datasets.wsi.store import TilePixels, open_tiles

TILE_FILE_SUFFIX: Final = ".h5"
"""A path that leads on from such a file, ``slides/NAME.h5/x0_y512``, is a tile in it."""

_MAX_INDEXED: Final = 64


def place_tile(file: Path, sample_id: str) -> Path:
    """Return the path by which `read_pixels` knows a tile: its file, then its place on the slide.

    Args:
        file: HDF5 file of the slide.
        sample_id: Of the tile, e.g. ``tumor_001/x0_y512``.
    """
    return file / sample_id.rsplit("/", 1)[-1]


def read_pixels(path: Path) -> Image.Image:
    """Return the image file or tile at `path` as RGB.

    Raises:
        UnreadableImageError: It is missing or broken.
    """
    if not _is_tile(path):
        return read_image(path)
    file = path.parent
    try:
        row, sample_id = _index_tiles(file, file.stat().st_mtime_ns)[path.name]
        with open_tiles(file) as opened:
            return Image.fromarray(TilePixels(opened).read(row, sample_id))
    except (DatasetError, *HDF5_ERRORS) as error:
        raise UnreadableImageError(
            f"{file} does not give the tile {path.name} ({error}). Delete the file and cut the "
            "slide again with experiments/tile_slides.py, or pass --skip-unreadable."
        ) from error


def hash_source(path: Path) -> str:
    """Return the hash of an image file's bytes; that of a tile's path, as it has no own file."""
    return hashlib.sha256(str(path).encode()).hexdigest() if _is_tile(path) else hash_file(path)


def _is_tile(path: Path) -> bool:
    return path.parent.suffix == TILE_FILE_SUFFIX and not path.parent.is_dir()


@lru_cache(maxsize=_MAX_INDEXED)
def _index_tiles(file: Path, changed: int) -> dict[str, tuple[int, str]]:
    """Return row and id of each tile by its place; `changed` tells versions of the file apart."""
    with open_tiles(file) as opened:
        names = read_texts(opened, "sample_id")
    return {name.rsplit("/", 1)[-1]: (row, name) for row, name in enumerate(names)}
