"""The Kaggle blood cells: augmented copies of few photographs, and the photographs themselves."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import Final

from datasets.errors import DatasetError
from datasets.images import list_images
from datasets.published import (
    PublishedImage,
    PublishedSet,
    compare_counts,
    find_folder,
    list_class_images,
)
from datasets.taxonomy import WBC_CLASSES, Split

CLASSES: Final = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
PARTS: Final[MappingProxyType[str, Split]] = MappingProxyType(
    {"TRAIN": "train", "TEST": "test", "TEST_SIMPLE": "test"}
)
PUBLISHED: Final = {
    "TRAIN": (2497, 2483, 2478, 2499),
    "TEST": (623, 620, 620, 624),
    "TEST_SIMPLE": (13, 6, 4, 48),
}
"""In the order of `CLASSES`. Public notebooks count 9,957 in TRAIN, 2,487 in TEST and 71 in
TEST_SIMPLE."""
PUBLISHED_LABELS: Final = 411
_COPIES: Final = ("dataset2-master/dataset2-master/images", "dataset2-master/images", "images")
_PHOTOGRAPHS: Final = ("dataset-master/dataset-master", "dataset-master")
_MAX_DIGITS: Final = 9
_LABEL_COLUMNS: Final = ("Image", "Category")


def read_kaggle_blood_cells(root: Path) -> PublishedSet:
    """Return the augmented images of ``dataset2-master``.

    Card:
        What: 12,444 images, 320x240 JPEG, each an augmented copy (rotation, shift, flip) of one of
            348 photographs of a smear: 277 behind TRAIN, 71 behind TEST. TEST_SIMPLE holds 71
            photographs that are not augmented.
        Classes: eosinophil, lymphocyte, monocyte, neutrophil.
        Splits: TRAIN 9,957 and TEST 2,487, by the author, share no photograph; validation is drawn
            here from TRAIN. The file names do not tell the photograph, so splits drawn from them
            leak unless ``--groups`` says which copies belong together. ``--test-part TEST_SIMPLE``
            tests on photographs.
        Licence: MIT, as BCCD, from which the photographs come.
        Citation: P. Mooney, Blood Cell Images, Kaggle, 2018.
        Source: https://www.kaggle.com/datasets/paultimothymooney/blood-cells
        Folders: ``dataset2-master/images/{TRAIN,TEST,TEST_SIMPLE}/<CLASS>/_<i>_<r>.jpeg``, with or
            without a second ``dataset2-master``.

    Raises:
        DatasetError: There is no TRAIN, or a part holds none of the class folders.
    """
    folder = find_folder(root, *_COPIES)
    if not (folder / "TRAIN").is_dir():
        raise DatasetError(
            f"No TRAIN under {folder}. Expected dataset2-master/images/{{{','.join(PARTS)}}}/"
            f"{{{','.join(name.upper() for name in CLASSES)}}}/. See README, Data."
        )
    images: list[PublishedImage] = []
    differences: list[str] = []
    for part, published in PUBLISHED.items():
        counts: dict[str, int] = {}
        if (folder / part).is_dir():
            layout = f"{part}/<CLASS>/*.jpeg"
            by_class, odd = list_class_images(
                folder / part, {name: name for name in CLASSES}, layout
            )
            differences += [f"{part}/{line}" for line in odd]
            counts = {label: len(paths) for label, paths in by_class.items()}
            images += [
                PublishedImage(path.relative_to(folder).as_posix(), label, path, part=part)
                for label, paths in by_class.items()
                for path in paths
            ]
        expected = dict(zip(CLASSES, published, strict=True))
        differences += compare_counts(f"{part}/", counts, expected)
    return PublishedSet(
        name="Kaggle blood cells",
        classes=CLASSES,
        images=tuple(images),
        root=folder,
        parts=PARTS,
        differences=tuple(differences),
    )


def read_kaggle_photographs(root: Path) -> PublishedSet:
    """Return the photographs of ``dataset-master`` that show one kind of white cell.

    Card:
        What: photographs of a smear, 640x480 JPEG, from which the augmented images were made.
        Classes: basophil 3, eosinophil 88, lymphocyte 33, monocyte 21, neutrophil 207 by
            labels.csv, which has 411 rows. Its 44 blank rows and its 15 rows with several cells
            are counted and left out, as are rows without an image file.
        Splits: none published; drawn here.
        Licence: MIT, as BCCD.
        Citation: P. Mooney, Blood Cell Images, Kaggle, 2018.
        Source: https://www.kaggle.com/datasets/paultimothymooney/blood-cells
        Folders: ``dataset-master/labels.csv`` and
            ``dataset-master/JPEGImages/BloodImage_<number>.jpg``, with or without a second
            ``dataset-master``.

    Raises:
        DatasetError: labels.csv or JPEGImages is missing, or labels.csv is no such table.
    """
    folder = find_folder(root, *_PHOTOGRAPHS)
    if not (folder / "JPEGImages").is_dir() or not (folder / "labels.csv").is_file():
        raise DatasetError(
            f"{folder} lacks labels.csv or JPEGImages/. Expected dataset-master/labels.csv and "
            "dataset-master/JPEGImages/BloodImage_*.jpg. See README, Data."
        )
    labels = read_photograph_labels(folder / "labels.csv")
    photographs = {path.stem: path for path in list_images(folder / "JPEGImages")}
    left_out: Counter[str] = Counter()
    images = []
    for stem, names in labels.items():
        if len(names) != 1:
            left_out["labels.csv: several cells" if names else "labels.csv: blank"] += 1
        elif stem not in photographs:
            left_out["labels.csv: no image file"] += 1
        else:
            path = photographs[stem]
            name = path.relative_to(folder).as_posix()
            images.append(PublishedImage(name, names[0], path, group=stem))
    unnamed = len(photographs.keys() - labels.keys())
    if unnamed:
        left_out["photographs without a row in labels.csv"] = unnamed
    rows = {"labels.csv": len(labels)}
    return PublishedSet(
        name="Kaggle photographs",
        classes=WBC_CLASSES,
        images=tuple(images),
        root=folder,
        left_out=dict(left_out),
        differences=tuple(compare_counts("", rows, {"labels.csv": PUBLISHED_LABELS})),
    )


def read_photograph_labels(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the cells of each photograph, by file stem, e.g. ``BloodImage_00007``.

    Args:
        path: ``labels.csv`` of ``dataset-master``: columns Image (a number) and Category (names
            divided by commas, or nothing).

    Raises:
        DatasetError: The file is no such table.
    """
    labels: dict[str, tuple[str, ...]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in _LABEL_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(
                    f"{path} lacks the column(s) {', '.join(missing)}. Expected labels.csv of "
                    "Kaggle's dataset-master: Image, Category."
                )
            for row in reader:
                stem, names = _parse_label_row(row, f"{path}, line {reader.line_num}")
                if stem in labels:
                    raise DatasetError(f"{path}, line {reader.line_num}: {stem} stands twice.")
                labels[stem] = names
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not a CSV file in UTF-8 ({error}).") from error
    return labels


def _parse_label_row(row: dict[str, str], where: str) -> tuple[str, tuple[str, ...]]:
    number = row["Image"].strip()
    if not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
        raise DatasetError(f"{where}: Image {number!r} is no number of a photograph.")
    names = tuple(
        name.strip().lower() for name in (row["Category"] or "").split(",") if name.strip()
    )
    unknown = [name for name in names if name not in WBC_CLASSES]
    if unknown:
        raise DatasetError(f"{where}: Category {unknown[0]!r} is none of {', '.join(WBC_CLASSES)}.")
    return f"BloodImage_{int(number):05d}", names
