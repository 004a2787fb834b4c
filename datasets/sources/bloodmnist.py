"""BloodMNIST: the PBC cells as small arrays with a published split."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import DatasetError
from datasets.published import PublishedImage, PublishedSet, compare_counts
from datasets.sources.pbc import PUBLISHED as PBC_COUNTS
from datasets.taxonomy import Split

CLASSES: Final = tuple(PBC_COUNTS)
"""MedMNIST's label order 0 to 7 is that of PBC's folders; its third is our ``ig``."""
PARTS: Final[MappingProxyType[str, Split]] = MappingProxyType(
    {"train": "train", "val": "val", "test": "test"}
)
PUBLISHED: Final = {"train": 11_959, "val": 1_712, "test": 3_421}
"""By the ``n_samples`` of the medmnist package."""
MAX_ARRAY_BYTES: Final = 2_000_000_000
"""Of one array; train at 224 pixels, the largest, has 1.8 GB."""
_FILES: Final = {
    28: "bloodmnist.npz",
    64: "bloodmnist_64.npz",
    128: "bloodmnist_128.npz",
    224: "bloodmnist_224.npz",
}


def read_bloodmnist(root: Path) -> PublishedSet:
    """Return the cells of the .npz file.

    Card:
        What: 17,092 single cells of PBC, cut to the middle 200x200 and resized to 28, 64, 128 or
            224 pixels a side. One part of the file is held in memory at a time; train at 224
            pixels takes 1.8 GB.
        Classes: basophil, eosinophil, erythroblast, ig, lymphocyte, monocyte, neutrophil,
            platelet, in MedMNIST's order.
        Splits: train 11,959, val 1,712, test 3,421, by the authors.
        Licence: CC BY 4.0.
        Citation: Yang et al., Scientific Data 10:41, 2023; Acevedo et al., 2020.
        Source: https://zenodo.org/records/10519652
        Folders: ``bloodmnist.npz`` (28), ``bloodmnist_64.npz``, ``bloodmnist_128.npz`` or
            ``bloodmnist_224.npz``. `root` is the folder of one of them, or the file itself.

    Raises:
        DatasetError: There is no such file or more than one, or it is broken.
    """
    path = _find_file(root)
    images: list[PublishedImage] = []
    counts = {}
    for part in PARTS:
        labels = _read_labels(path, part)
        counts[part] = len(labels)
        images += [
            PublishedImage(
                image_id=f"{part}/{CLASSES[label]}/{index:05d}.png",
                label=CLASSES[label],
                make=partial(_read_cell, path, part, index, len(labels)),
                part=part,
            )
            for index, label in enumerate(labels)
        ]
    return PublishedSet(
        name="BloodMNIST",
        classes=CLASSES,
        images=tuple(images),
        root=path.parent,
        parts=PARTS,
        differences=tuple(compare_counts("", counts, PUBLISHED)),
    )


def _find_file(root: Path) -> Path:
    if root.is_file():
        return root
    found = [root / name for name in _FILES.values() if (root / name).is_file()]
    if len(found) == 1:
        return found[0]
    problem = "no .npz file of it" if not found else f"{', '.join(path.name for path in found)}"
    raise DatasetError(
        f"{root} holds {problem}. Expected one of {', '.join(_FILES.values())}; pass the file "
        "itself as --root. See README, Data."
    )


def _read_labels(path: Path, part: str) -> list[int]:
    labels = _read_array(path, f"{part}_labels")
    if labels.ndim not in (1, 2) or labels.size != len(labels):
        raise DatasetError(f"{path}: {part}_labels has the shape {labels.shape}, expected (N, 1).")
    if labels.dtype.kind not in "iu":
        raise DatasetError(f"{path}: {part}_labels is {labels.dtype}, expected whole numbers.")
    values = [int(label) for label in labels.reshape(-1)]
    if values and not 0 <= min(values) <= max(values) < len(CLASSES):
        raise DatasetError(f"{path}: {part}_labels must lie in 0 to {len(CLASSES) - 1}.")
    return values


def _read_cell(path: Path, part: str, index: int, number: int) -> Image.Image:
    images = _read_images(path, part)
    if len(images) != number:
        raise DatasetError(f"{path}: {len(images)} {part}_images for {number} labels.")
    return Image.fromarray(images[index])


@lru_cache(maxsize=1)
def _read_images(path: Path, part: str) -> NDArray[np.uint8]:
    images = _read_array(path, f"{part}_images")
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DatasetError(
            f"{path}: {part}_images is {images.dtype} {images.shape}, expected uint8 (N, S, S, 3)."
        )
    return images.astype(np.uint8, copy=False)


def _read_array(path: Path, name: str) -> NDArray[np.generic]:
    try:
        # Pickled arrays could run code.
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise DatasetError(f"{path} is a single array, no .npz of BloodMNIST.")
        with file:
            # What is stated here is also the most that is unpacked.
            size = file.zip.getinfo(f"{name}.npy").file_size
            if size > MAX_ARRAY_BYTES:
                raise ValueError(f"it has {size:,} bytes, allowed are {MAX_ARRAY_BYTES:,}")
            array: NDArray[np.generic] = file[name]
            return array
    except (
        OSError, KeyError, ValueError, EOFError, MemoryError, RuntimeError, NotImplementedError,
        SyntaxError, TypeError, OverflowError, AttributeError, RecursionError, struct.error,
        zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    ) as error:  # fmt: skip
        raise DatasetError(
            f"{path}: {name} cannot be read ({error}). Download the file again."
        ) from error
