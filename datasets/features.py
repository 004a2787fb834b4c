"""The feature store: frozen features of a data set, in one HDF5 file under a key.

The key is a hash of everything that the features depend on, so a retrained encoder or a changed
image gives another file and stale features cannot be served. One chunk holds one sample with a
checksum. A store is written under a temporary name and renamed, and a lock keeps two runs from
writing it at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
    read_attribute,
    read_texts,
    to_text,
    to_texts,
)

_FORMAT_VERSION = 2
_FREE_SPACE_MARGIN = 1.05


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
        """Return the store's key, 64 hex digits, for the images with these content keys."""
        digest = hashlib.sha256()
        digest.update(json.dumps({"format": _FORMAT_VERSION, **asdict(self)}).encode())
        for content_key in sorted(set(content_keys)):
            digest.update(content_key.encode())
        return digest.hexdigest()

    def num_bytes(self, num_samples: int) -> int:
        """Return the size on disk of `num_samples` samples, without the file's index."""
        return num_samples * int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class FeatureStore:
    """Reads one store; the file is opened on the first read, once in each worker process."""

    def __init__(self, path: Path, key: str) -> None:
        """Open the store at `path`.

        Raises:
            DatasetError: The file is broken or was written under another key.
        """
        self.path = path
        self._file: h5py.File | None = None
        self._process = -1
        try:
            with h5py.File(path) as file:
                found = read_attribute(file, "key")
                names = read_texts(file, "content_keys")
                features = get_dataset(file, "features")
                is_right = features.dtype.kind == "f" and features.dtype.isnative
                if not is_right or len(names) != len(features):
                    raise ValueError(f"{features.dtype} {features.shape} for {len(names)} names")
        except HDF5_ERRORS as error:
            raise DatasetError(
                f"{path} is no whole feature store ({error}). Delete it; it will be made again."
            ) from error
        if found != key:
            raise DatasetError(
                f"{path} is stale: its key is {str(found)[:12]}, the encoder and images at hand "
                f"have {key[:12]}. Delete it; it will be made again."
            )
        self._row = {name: row for row, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self._row)

    def read(self, content_key: str) -> Tensor:
        """Return the features of the sample with this content key, in the stored dtype.

        Raises:
            DatasetError: The sample is not in the store, or its chunk fails the checksum.
        """
        if content_key not in self._row:
            raise DatasetError(f"{self.path} holds no features of the image {content_key[:12]}.")
        # A handle that a worker inherits by fork shares its file position with the parent's.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = h5py.File(self.path), os.getpid()
        try:
            values: NDArray[np.generic] = self._file["features"][self._row[content_key]]
        except HDF5_ERRORS as error:
            raise DatasetError(
                f"{self.path} is damaged ({error}). Delete it; it will be made again."
            ) from error
        return torch.from_numpy(values)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None}


def write_store(
    path: Path,
    spec: FeatureSpec,
    content_keys: Sequence[str],
    batches: Iterable[NDArray[np.floating]],
) -> None:
    """Write a store whole or not at all.

    Args:
        path: Where it will lie.
        spec: What the features depend on.
        content_keys: One a row, in the order of the batches.
        batches: Arrays (B, *spec.shape).

    Raises:
        DatasetError: The disk has no room, or a batch has non-finite features.
    """
    require_free_space(path.parent, spec.num_bytes(len(content_keys)))
    with write_whole(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["key"] = to_text(spec.key(content_keys))
        file.attrs["spec"] = to_text(json.dumps(asdict(spec)))
        file["content_keys"] = to_texts(content_keys)
        features = file.create_dataset(
            "features",
            shape=(len(content_keys), *spec.shape),
            dtype=spec.dtype,
            chunks=(1, *spec.shape),
            fletcher32=True,
        )
        row = 0
        for batch in batches:
            with np.errstate(over="ignore"):  # What overflows is refused in the next line.
                values = batch.astype(spec.dtype)
            if not np.isfinite(values).all():
                raise DatasetError(
                    f"Encoder {spec.encoder} gives non-finite features for images in rows {row} to "
                    f"{row + len(batch) - 1}."
                )
            features[row : row + len(batch)] = values
            row += len(batch)


def require_free_space(folder: Path, num_bytes: int) -> None:
    """Raise unless `folder`'s disk has room for `num_bytes` and a little more.

    Raises:
        DatasetError: There is too little room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < num_bytes * _FREE_SPACE_MARGIN:
        raise DatasetError(
            f"The feature store needs {num_bytes / 1e9:.2f} GB and {folder} has "
            f"{free / 1e9:.2f} GB free. Free some or pass a --cache-root on another disk."
        )
