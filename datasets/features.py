"""The feature store: frozen features of a data set, in one HDF5 file under a key.

The key is a hash of everything that the features depend on, so a retrained encoder or a changed
image gives another file and stale features cannot be served. Every row, an image or a view of one,
has a checksum over its content key and its features, so whatever bit of the file flips, no wrong
features are served. `datasets.feature_writing` writes stores.

Datasets, by row: ``features``, contiguous; ``content_keys``, of fixed length;
``checksums`` int64, -1 where nothing is written yet. Attributes: ``key``, ``spec``.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.errors import DatasetError
from datasets.safe_hdf5 import (
    HDF5_ERRORS,
    get_dataset,
    is_transient,
    read_attribute,
    read_column,
    read_texts,
)
from datasets.views import name_view

_FORMAT_VERSION: Final = 2


@dataclass(frozen=True)
class FeatureSpec:
    """What a store's features depend on.

    Attributes:
        encoder: Name of the encoder.
        encoder_sha256: Hash of its parameters and buffers.
        transform: The evaluation transform in words, e.g. ``rgb, bilinear 224, [0, 1]``.
        precision: In which the encoder ran, e.g. ``bf16-mixed``.
        shape: Of one sample's features.
        dtype: In which they are stored.
    """

    encoder: str
    encoder_sha256: str
    transform: str
    precision: str
    shape: tuple[int, ...]
    dtype: str = "float16"

    def key(self, content_keys: Iterable[str]) -> str:
        """Return the store's key, 64 hex digits, for images or views with these content keys."""
        digest = hashlib.sha256()
        digest.update(json.dumps({"format": _FORMAT_VERSION, **asdict(self)}).encode())
        for content_key in sorted(set(content_keys)):
            digest.update(content_key.encode())
        return digest.hexdigest()

    def num_bytes(self, num_samples: int) -> int:
        """Return the size on disk of `num_samples` samples, without the file's index."""
        return num_samples * int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def to_json(self) -> str:
        """Return the spec as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        """Return the spec that `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "shape": tuple(values["shape"])})


class FeatureStore:
    """Reads one store; the file is opened on the first read, once in each worker process."""

    def __init__(self, path: Path, key: str) -> None:
        """Open the store at `path`.

        Raises:
            DatasetError: The file is broken or was written under another key.
            OSError: The disk or the system failed.
        """
        self.path = path
        self._file: h5py.File | None = None
        self._process = -1
        try:
            with h5py.File(path) as file:
                spec, names, self._checksums = read_index(file)
        except HDF5_ERRORS as error:
            if is_transient(error):
                raise
            raise DatasetError(f"{path} is no whole feature store ({error}).") from error
        found = spec.key(names)
        if found != key:
            raise DatasetError(
                f"{path} is stale: its key is {found[:12]}, the encoder and images at hand have "
                f"{key[:12]}."
            )
        self._row = {name: row for row, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self._row)

    def read(self, content_key: str, view: int = 0) -> Tensor:
        """Return the features of a sample's view, in the stored dtype.

        Args:
            content_key: Of the sample.
            view: Of `datasets.views`.

        Raises:
            DatasetError: The view is not in the store, or its row fails the checksum. A damaged
                store is put aside, so that the next run mends it.
            OSError: The disk or the system failed; the store is left as it is.
        """
        name = name_view(content_key, view)
        if name not in self._row:
            raise DatasetError(
                f"{self.path} holds no features of the image {content_key[:12]}, view {view}."
            )
        row = self._row[name]
        try:
            # A handle that a worker inherits by fork shares its file position with the parent's.
            if self._file is None or self._process != os.getpid():
                self._file, self._process = h5py.File(self.path), os.getpid()
            values: NDArray[np.generic] = self._file["features"][row]
            if checksum(name, values) != self._checksums[row]:
                raise OSError(f"row {row} fails its checksum")
        except HDF5_ERRORS as error:
            if is_transient(error):
                raise
            put_aside(self.path)
            raise DatasetError(
                f"{self.path} is damaged ({error}). Run the same command again, with --resume for "
                "a training: the damaged features are made again. If it comes back, check the "
                "disk, or pass a --cache-root on another."
            ) from error
        return torch.from_numpy(values)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None}


@dataclass(frozen=True)
class ViewStores:
    """The features of all views: a store of the images as they are, and one of the turned ones."""

    upright: FeatureStore
    turned: FeatureStore

    def read(self, content_key: str, view: int = 0) -> Tensor:
        """Return the features of a sample's view, as `FeatureStore.read`."""
        return (self.turned if view else self.upright).read(content_key, view)


def read_index(file: h5py.File) -> tuple[FeatureSpec, list[str], NDArray[np.int64]]:
    """Return the spec, the content keys and the checksums of an open store, whole or unfinished.

    Raises:
        ValueError: They do not belong together; h5py's errors for a broken file besides.
    """
    spec = FeatureSpec.from_json(str(read_attribute(file, "spec")))
    names = read_texts(file, "content_keys")
    features, checksums = get_dataset(file, "features"), read_column(file, "checksums")
    expected = ((len(names), *spec.shape), np.dtype(spec.dtype))
    if (features.shape, features.dtype) != expected or checksums.shape != (len(names),):
        raise ValueError("its parts differ in shape")
    if read_attribute(file, "key") != spec.key(names):
        raise ValueError("its key is not that of its content")
    return spec, names, checksums.astype(np.int64)


def checksum(content_key: str, values: NDArray[np.generic]) -> int:
    """Return the checksum of a row: CRC-32 of whose features they are, and of themselves."""
    return zlib.crc32(values.tobytes(), zlib.crc32(content_key.encode()))


def unfinished_path(path: Path) -> Path:
    """Return where the store that will be `path` lies while it is written or mended."""
    return path.with_name(f".{path.name}.partial")


def put_aside(path: Path) -> None:
    """Make a damaged store an unfinished one: what is whole in it need not be made again."""
    # Where it is, nobody writes the unfinished one: that is done only where there is no store.
    with suppress(OSError):
        path.replace(unfinished_path(path))
