"""Raabin-WBC: double-labelled single cells from two microscopes."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

from datasets.errors import DatasetError
from datasets.published import (
    PublishedImage,
    PublishedSet,
    compare_counts,
    find_folder,
    list_class_images,
)
from datasets.taxonomy import WBC_CLASSES, Split

PARTS: Final[MappingProxyType[str, Split]] = MappingProxyType(
    {"Train": "train", "TestA": "test", "TestB": "test"}
)
PUBLISHED: Final = {
    "Train": (212, 744, 2427, 561, 6231),
    "TestA": (89, 322, 1034, 234, 2660),
    "TestB": (0, 0, 148, 0, 1971),
}
"""By part, in the order of the five classes. Train as the course bundle's statistics add up (its
WBC_100 train and val); TestA and TestB as evaluations published for these folders support them."""


def read_raabin(root: Path) -> PublishedSet:
    """Return the cells of the parts that are there.

    Card:
        What: 16,633 single cells, 575x575 JPEG, cropped from Giemsa-stained smears. Train and
            TestA come from one microscope and phone, TestB from another pair.
        Classes: basophil, eosinophil, lymphocyte, monocyte, neutrophil. TestB holds lymphocytes
            and neutrophils only.
        Splits: Train 10,175, TestA 4,339, TestB 2,119, by the authors. Validation is drawn here
            from Train. The usual test is TestA; ``--test-part TestB`` takes the other microscope,
            ``--pool-parts`` draws from all three.
        Licence: the paper is CC BY 4.0; the site gives the images free for any use.
        Citation: Kouzehkanan et al., Scientific Reports 12:1123, 2022.
        Source: https://raabindata.com/free-data/ (double-labelled cropped cells)
        Folders: ``{Train,TestA,TestB}/<Class>/*.jpg``; ``Test-A`` and ``Test-B`` are known too.

    Raises:
        DatasetError: There is no Train, or a part holds none of the class folders.
    """
    folder = find_folder(root, "Raabin-WBC", "Cropped_double_labeled")
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    part_of = {name.lower(): name for name in PARTS}
    folders = {
        part_of[key]: path
        for path in inside
        if path.is_dir() and (key := path.name.lower().replace("-", "")) in part_of
    }
    if "Train" not in folders:
        held = ", ".join(path.name for path in inside if path.is_dir()) or "no folders"
        raise DatasetError(
            f"{folder} holds {held}. Expected Raabin-WBC: Train/, TestA/ and TestB/, each with "
            f"{', '.join(name.capitalize() for name in WBC_CLASSES)}. See README, Data."
        )
    images: list[PublishedImage] = []
    differences: list[str] = []
    for part, published in PUBLISHED.items():
        expected = dict(zip(WBC_CLASSES, published, strict=True))
        counts: dict[str, int] = {}
        if part in folders:
            layout = f"{part}/<Class>/*.jpg"
            by_class, odd = list_class_images(
                folders[part], {name: name for name in WBC_CLASSES}, layout
            )
            differences += [f"{part}/{line}" for line in odd]
            counts = {label: len(paths) for label, paths in by_class.items()}
            images += [
                PublishedImage(path.relative_to(folder).as_posix(), label, path, part=part)
                for label, paths in by_class.items()
                for path in paths
            ]
        differences += compare_counts(f"{part}/", counts, expected)
    return PublishedSet(
        name="Raabin-WBC",
        classes=WBC_CLASSES,
        images=tuple(images),
        root=folder,
        parts=PARTS,
        differences=tuple(differences),
    )
