"""Packs: decoded and resized images in one HDF5 file, so that no training decodes them again.

A chunk holds one image, found by the hash of its content: an image that changed has another hash
and is not in the pack. A checksum over hash and pixels, in a column of its own, tells when the
file's index leads to a wrong chunk, or to none, which HDF5 reads as black.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.safe_hdf5 import (
    HDF5_ERRORS,
    get_dataset,
    is_transient,
    read_attribute,
    read_column,
    read_texts,
    to_text,
    to_texts,
)

_FORMAT: Final = "rgb, bilinear, uint8, 2"
"""What the pixels depend on besides content and size; change it when `to_tensor` changes."""
_FREE_SPACE_MARGIN: Final = 1.05


def pack_path(folder: Path, image_size: int) -> Path:
    """Return where the pack of images of side `image_size` lies in a prepared folder."""
    return folder / f"images-{image_size}.h5"


class ImagePack:
    """Reads one pack; the file is opened on the first read, once in each process."""

    def __init__(self, path: Path, image_size: int) -> None:
        """Open the pack at `path`.

        Raises:
            DatasetError: The file is broken, or holds images of another size or kind.
            OSError: The disk or the system failed.
        """
        self.path = path
        self._file: h5py.File | None = None
        self._process = -1
        try:
            with h5py.File(path) as file:
                images = get_dataset(file, "images")
                found = (read_attribute(file, "format"), images.shape[1:], images.dtype.name)
                names = read_texts(file, "content_keys")
                if len(names) != len(images):
                    raise ValueError(f"{len(names)} names for {len(images)} images")
                checksums = read_column(file, "crc32")
                if checksums.shape != (len(names),):
                    raise ValueError(f"{checksums.size} checksums for {len(images)} images")
        except HDF5_ERRORS as error:
            if is_transient(error):
                raise
            raise DatasetError(
                f"{path} is no whole pack of images ({error}). Delete it, or prepare the set again."
            ) from error
        expected = (_FORMAT, (3, image_size, image_size), "uint8")
        if found != expected:
            raise DatasetError(
                f"{path} holds {found[0]}, {found[1]}; expected {expected[0]}, {expected[1]} of "
                "uint8. Delete it, or prepare the set again."
            )
        self._row = {name: row for row, name in enumerate(names)}
        self._checksums = checksums

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, content_key: str) -> bool:
        return content_key in self._row

    def read(self, content_key: str) -> Tensor:
        """Return the image with this content key, uint8 (3, S, S).

        Raises:
            DatasetError: The image is not in the pack, or fails its checksum.
            OSError: The disk or the system failed.
        """
        if content_key not in self._row:
            raise DatasetError(f"{self.path} does not hold the image {content_key[:12]}.")
        try:
            # A handle that a worker inherits by fork shares its file position with the parent's.
            if self._file is None or self._process != os.getpid():
                self._file, self._process = h5py.File(self.path), os.getpid()
            row = self._row[content_key]
            values: NDArray[np.uint8] = self._file["images"][row]
            if _checksum(content_key, values) != self._checksums[row]:
                raise ValueError(f"row {row} does not agree with its checksum")
        except HDF5_ERRORS as error:
            if is_transient(error):
                raise
            raise DatasetError(
                f"{self.path} is damaged ({error}). Delete it, or prepare the set again."
            ) from error
        return torch.from_numpy(values)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None}


def write_pack(
    path: Path, image_size: int, content_keys: Sequence[str], images: Iterable[Tensor]
) -> None:
    """Write a pack whole or not at all.

    Args:
        path: Where it will lie.
        image_size: Side S of the images.
        content_keys: One an image, all different.
        images: uint8 (3, S, S), in the order of the keys.

    Raises:
        DatasetError: The disk has no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    needed = len(content_keys) * 3 * image_size**2
    free = shutil.disk_usage(path.parent).free
    if free < needed * _FREE_SPACE_MARGIN:
        raise DatasetError(
            f"The pack {path} needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free. Free "
            "some, or pass a smaller --image-size or an --out on another disk."
        )
    shape = (3, image_size, image_size)
    with write_whole(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = to_text(_FORMAT)
        file["content_keys"] = to_texts(content_keys)
        stored = file.create_dataset(
            "images", shape=(len(content_keys), *shape), dtype="uint8", chunks=(1, *shape)
        )
        checksums = np.zeros(len(content_keys), dtype=np.uint32)
        for row, image in enumerate(images):
            stored[row] = image.numpy()
            checksums[row] = _checksum(content_keys[row], image.numpy())
        file["crc32"] = checksums


def _checksum(content_key: str, pixels: NDArray[np.uint8]) -> int:
    return zlib.crc32(pixels.tobytes(), zlib.crc32(content_key.encode()))
