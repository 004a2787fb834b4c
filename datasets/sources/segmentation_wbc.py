"""segmentation_WBC: white cells with masks of nucleus and cytoplasm."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.images import list_images
from datasets.published import PublishedImage, PublishedSet, compare_counts, find_folder
from datasets.taxonomy import WBC_CLASSES

CODES: Final = {1: "neutrophil", 2: "lymphocyte", 3: "monocyte", 4: "eosinophil", 5: "basophil"}
PUBLISHED: Final = {
    "Dataset 1": {
        "basophil": 1,
        "eosinophil": 22,
        "lymphocyte": 53,
        "monocyte": 48,
        "neutrophil": 176,
    },
    "Dataset 2": {
        "basophil": 3,
        "eosinophil": 12,
        "lymphocyte": 37,
        "monocyte": 15,
        "neutrophil": 33,
    },
}
"""By the class CSVs of the repository."""


def read_segmentation_wbc(root: Path) -> PublishedSet:
    """Return the cells of both parts, or of the one that is there, with their masks.

    Card:
        What: Dataset 1: 300 cells, about 120x120 BMP, Motic camera, rapid stain. Dataset 2: 100
            cells, 300x300, from the CellaVision blog. Masks, PNG: 0 background, 128 cytoplasm,
            255 nucleus.
        Classes: neutrophil (1), lymphocyte (2), monocyte (3), eosinophil (4), basophil (5) in the
            class CSV, not checked by experts. Dataset 1 holds 176, 53, 48, 22 and 1: its only
            basophil cannot be split, so pass ``--ignore-classes basophil``. Dataset 2 holds 33, 37,
            15, 12 and 3.
        Splits: none published; drawn here.
        Licence: GPL-3.0.
        Citation: Zheng et al., Micron 107:55, 2018.
        Source: https://github.com/zxaoyou/segmentation_WBC
        Folders: ``Dataset <1|2>/NNN.bmp`` and ``NNN.png`` (mask), and
            ``Class Labels of Dataset <1|2>.csv`` (image ID, class label).

    Raises:
        DatasetError: Neither part is there, or a class CSV is missing or no such table.
    """
    folder = find_folder(root, "segmentation_WBC-master", "segmentation_WBC")
    parts = [name for name in PUBLISHED if (folder / name).is_dir()]
    if not parts:
        raise DatasetError(
            f"{folder} lacks 'Dataset 1'. Expected 'Dataset 1/001.bmp', 'Dataset 1/001.png' and "
            "'Class Labels of Dataset 1.csv'. See README, Data."
        )
    images: list[PublishedImage] = []
    differences: list[str] = []
    left_out: Counter[str] = Counter()
    for part in parts:
        codes = read_class_codes(folder / f"Class Labels of {part}.csv")
        found = _read_part(folder, part, codes, left_out)
        images += found
        counts = Counter(image.label for image in found)
        differences += compare_counts(f"{part}/", counts, PUBLISHED[part])
        masks = sum(image.mask_path is not None for image in found)
        if masks != len(found):
            differences.append(f"{part}: {masks} masks for {len(found)} images")
    return PublishedSet(
        name="segmentation_WBC",
        classes=WBC_CLASSES,
        images=tuple(images),
        root=folder,
        left_out=dict(left_out),
        differences=tuple(differences),
    )


def _read_part(
    folder: Path, part: str, codes: dict[int, int], left_out: Counter[str]
) -> list[PublishedImage]:
    files = list_images(folder / part)
    masks = {path.stem: path for path in files if path.suffix.lower() == ".png"}
    images = []
    for path in files:
        if path.suffix.lower() == ".png":
            continue
        code = codes.get(int(path.stem)) if path.stem.isascii() and path.stem.isdigit() else None
        label = CODES.get(code) if code is not None else None
        if label is None:
            why = "not in the class CSV" if code is None else f"class label {code}"
            left_out[f"{part}: {why}"] += 1
            continue
        name = path.relative_to(folder).as_posix()
        images.append(
            PublishedImage(name, label, path, subtype=part, mask_path=masks.get(path.stem))
        )
    return images


def read_class_codes(path: Path) -> dict[int, int]:
    """Return the class code of each image number from a class CSV.

    Raises:
        DatasetError: The file is missing or no table of two columns of numbers.
    """
    codes: dict[int, int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            next(rows, None)
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                number, code = (int(cell) for cell in row[:2])
                if codes.setdefault(number, code) != code:
                    raise DatasetError(
                        f"{path}, line {rows.line_num}: image {number} has two classes."
                    )
    except (OSError, csv.Error, ValueError) as error:
        raise DatasetError(
            f"{path} is no table of image ID and class label ({error}). See README, Data."
        ) from error
    return codes
