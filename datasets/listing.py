"""Lists the labelled images under a folder as they are; draws no splits."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from datasets.cells import read_prepared
from datasets.errors import DatasetError, UnreadableImageError
from datasets.image_files import DECODE_ERRORS, open_image
from datasets.images import list_images
from datasets.manifest import MANIFEST_NAME
from datasets.samples import Sample, SampleSet
from datasets.synthetic import is_synthetic_root
from datasets.taxonomy import SPLITS

WHOLE_SET: Final = "all"
"""Name of the split where the set has none."""

_MASK_FOLDERS: Final = frozenset({"mask", "masks"})


@dataclass(frozen=True)
class ListedImage:
    """An image file, its class, the split that its set puts it in, and its mask if it has one."""

    path: Path
    label: str
    split: str
    mask_path: Path | None = None


@dataclass(frozen=True)
class ImageListing:
    """The images of a set.

    Attributes:
        name: What pictures and tables call the set.
        root: Folder that holds the images.
        classes: Class names.
        splits: Split names, in the order in which tables show them.
        images: Sorted by path.
        is_synthetic: Pictures of it are stamped.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    images: tuple[ListedImage, ...]
    is_synthetic: bool = False

    def of_class(self, label: str) -> list[ListedImage]:
        """Return the images of a class."""
        return [image for image in self.images if image.label == label]

    def count(self, label: str, split: str) -> int:
        """Return the number of images of a class in a split."""
        return sum(image.split == split for image in self.of_class(label))


def list_labelled_images(source: Path) -> ImageListing:
    """Return the images under `source`.

    `source` is a set that ``prepare_wbc.py`` wrote (its folder or its ``manifest.csv``), the
    course bundle, or any tree of folders. In a tree each folder that holds images is a class named
    after it in lower case; the folders above, less what all have in common, name the split, so
    that ``TRAIN/EOSINOPHIL`` is class eosinophil of split TRAIN. Hidden folders and folders named
    mask are left out.

    Raises:
        DatasetError: `source` is missing or holds no images, or is a file but no manifest.
    """
    if source.is_file() and source.name != MANIFEST_NAME:
        raise DatasetError(
            f"{source} is no {MANIFEST_NAME}. Pass one that experiments/prepare_wbc.py wrote, or a "
            "folder of images."
        )
    root = source.parent if source.is_file() else source
    if not root.is_dir():
        raise DatasetError(
            f"No folder {root}. Pass a folder of class folders, the course bundle, or a set that "
            "experiments/prepare_wbc.py wrote."
        )
    prepared = read_prepared(root, use_masks=True)
    return _list_folders(root) if prepared is None else _list_samples(root, prepared)


def read_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) as the file's header states it; None if there is no such header."""
    try:
        with open_image(path) as image:
            return image.size
    except (*DECODE_ERRORS, UnreadableImageError):
        return None


def pick_images(
    images: Sequence[ListedImage], max_images: int, seed: int, root: Path
) -> list[ListedImage]:
    """Return at most `max_images` images, drawn without replacement, in the order of the draw.

    The draw depends on `seed`, the class and the paths below `root` only, so it is the same on
    every machine and does not change when another class is added.
    """
    if not images:
        return []
    ordered = sorted(images, key=lambda image: os.path.relpath(image.path, root))
    rng = np.random.default_rng([seed, zlib.crc32(ordered[0].label.encode())])
    return [ordered[index] for index in rng.permutation(len(ordered))[:max_images]]


def _list_samples(root: Path, samples: SampleSet) -> ImageListing:
    masks: dict[Path, Path | None] = {s.path: s.mask_path for s in samples.samples if s.mask_path}
    listed = [_list_sample(s, masks) for s in samples.samples if s.mask_path is None]
    unlabelled = [WHOLE_SET] if any(image.label == WHOLE_SET for image in listed) else []
    return ImageListing(
        name=samples.name,
        root=root,
        classes=(*samples.classes, *unlabelled),
        splits=tuple(split for split in SPLITS if any(i.split == split for i in listed)),
        images=tuple(sorted(listed, key=lambda image: image.path)),
        is_synthetic=samples.is_synthetic,
    )


def _list_sample(sample: Sample, masks: dict[Path, Path | None]) -> ListedImage:
    label = sample.label or WHOLE_SET
    return ListedImage(sample.path, label, sample.split, masks.get(sample.path))


def _list_folders(root: Path) -> ImageListing:
    found: list[tuple[Path, str, PurePosixPath]] = []
    for name, folders, _ in os.walk(root):
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and f.lower() not in _MASK_FOLDERS
        )
        folder = Path(name)
        above = PurePosixPath(_printable(folder.relative_to(root).as_posix())).parent
        label = _printable(folder.resolve().name.lower())
        paths = list_images(folder, any_name=True)
        found += [(path, label, above) for path in paths if path.is_file()]
    if not found:
        raise DatasetError(
            f"{root} holds no images. Expected one folder of images a class, at any depth."
        )
    split_of = _name_splits(sorted({above for _, _, above in found}))
    images = [ListedImage(path, label, split_of[above]) for path, label, above in found]
    return ImageListing(
        name=_printable(root.resolve().name),
        root=root,
        classes=tuple(sorted({image.label for image in images})),
        splits=tuple(sorted(set(split_of.values()), key=_order_of_split)),
        images=tuple(sorted(images, key=lambda image: image.path)),
        is_synthetic=is_synthetic_root(root),
    )


def _name_splits(folders: Sequence[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return each folder's path without the parts at both ends that all of them share."""
    if len(folders) == 1:
        return {folders[0]: WHOLE_SET}
    shortest = min(len(folder.parts) for folder in folders)
    first = folders[0].parts
    start = 0
    while start < shortest and all(f.parts[start] == first[start] for f in folders):
        start += 1
    end = 0
    while end < shortest - start and all(f.parts[-1 - end] == first[-1 - end] for f in folders):
        end += 1
    return {f: "/".join(f.parts[start : len(f.parts) - end]) or WHOLE_SET for f in folders}


def _order_of_split(split: str) -> tuple[int, str]:
    name = split.lower()
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), split)


def _printable(name: str) -> str:
    """Return a folder's name with question marks for bytes that are no UTF-8."""
    return name.encode("utf-8", "replace").decode()
