"""HDF5 from strangers: values that lie in the file itself, and no more of them than is meant.

A file may hold links into other files, datasets whose bytes are those of any file of the disk, and
datasets of a few bytes that become terabytes when they are read. Texts of varying length lie in a
heap in which one damaged byte makes the HDF5 library loop for ever; those that are written and
read here have one length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from datasets.image_files import MAX_PIXELS

MAX_ROWS: Final = 20_000_000
"""Of a column that is read whole; PatchCamelyon, the largest set, has 262,144."""
MAX_CHUNK_BYTES: Final = 3 * MAX_PIXELS
"""A chunk is unpacked as a whole, however little of it is read; the largest holds one image."""
MAX_TEXT_BYTES: Final = 2**30
"""Of the texts of one column."""
_FILTERS: Final = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
"""Those of published sets. Others have holes up to HDF5 2.3 (CVE-2026-19026, -19029) or are
plug-ins, which are code."""

HDF5_ERRORS: Final = (
    OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError,
    OverflowError, IndexError, NotImplementedError,
)  # fmt: skip
"""What a broken file can make h5py raise."""


def is_transient(error: BaseException) -> bool:
    """Return whether an error says nothing of the file: the system or its memory failed."""
    # HDF5's own errors come as OSError without a number.
    return isinstance(error, MemoryError) or getattr(error, "errno", None) is not None


def get_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset `name`, whose bytes lie in `file` itself.

    Raises:
        ValueError: It is a link, lies in other files, or in chunks larger than `MAX_CHUNK_BYTES`,
            of other dimensions than its own, or packed by other filters than deflate and shuffle.
        Exception: Another of `HDF5_ERRORS`: it is missing or broken.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise KeyError(f"there is no {name}")
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is a link or a group")
    if found.external or found.is_virtual:
        raise ValueError(f"the values of {name} lie outside of the file")
    if found.chunks is not None:
        _check_chunks(found, name)
    return found


def _check_chunks(dataset: h5py.Dataset, name: str) -> None:
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk > MAX_CHUNK_BYTES:
        raise ValueError(f"each chunk of {name} takes {chunk / 1e6:.0f} MB")
    if len(dataset.chunks) != dataset.ndim:  # HDF5 up to 2.3 reads on, or dies (CVE-2026-19025).
        raise ValueError(f"{name} has {dataset.ndim} dimensions, its chunks {len(dataset.chunks)}")
    creation = dataset.id.get_create_plist()
    filters = {creation.get_filter(number)[0] for number in range(creation.get_nfilters())}
    if not filters <= _FILTERS:
        raise ValueError(
            f"{name} is packed by a filter that is not read here: {min(filters - _FILTERS)}"
        )


def read_column(file: h5py.File, name: str) -> NDArray[np.generic]:
    """Return a whole dataset of numbers.

    Raises:
        ValueError: It holds too much or no numbers, or as `get_dataset`.
        Exception: Another of `HDF5_ERRORS`.
    """
    column = get_dataset(file, name)
    if column.ndim < 1 or column.size > MAX_ROWS or column.dtype.kind not in "biuf":
        raise ValueError(f"{name} is {column.dtype} of the shape {column.shape}")
    values: NDArray[np.generic] = column[:]
    return values


def read_texts(file: h5py.File, name: str) -> list[str]:
    """Return a column that `to_texts` made, (N,).

    Raises:
        ValueError: It holds too much or no such texts, or as `get_dataset`.
        Exception: Another of `HDF5_ERRORS`.
    """
    column = get_dataset(file, name)
    if column.ndim != 1 or column.dtype.kind != "S":
        raise ValueError(f"{name} holds no texts of one length")
    if column.size > MAX_ROWS or column.size * column.dtype.itemsize > MAX_TEXT_BYTES:
        raise ValueError(f"the texts of {name} are too many or too long")
    return [bytes(value).decode() for value in column[:]]


def read_attribute(file: h5py.File, name: str) -> str | int | float | bool:
    """Return an attribute, a number or what `to_text` made.

    Raises:
        ValueError: It is something else.
        Exception: Another of `HDF5_ERRORS`: it is missing or broken.
    """
    kind = file.attrs.get_id(name)
    if kind.shape != () or kind.dtype.kind not in "biufS":
        raise ValueError(f"the attribute {name} is {kind.dtype} of the shape {kind.shape}")
    value = file.attrs[name]
    plain: str | int | float | bool = value.decode() if kind.dtype.kind == "S" else value.item()
    return plain


def to_texts(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Return texts in UTF-8, as long each as the longest, for a dataset."""
    return np.array([text.encode() for text in texts], dtype=bytes)


def to_text(text: str) -> NDArray[np.bytes_]:
    """Return a text in UTF-8 for an attribute, shape ()."""
    return np.array(text.encode(), dtype=f"S{max(1, len(text.encode()))}")
