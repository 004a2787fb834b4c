"""BCCD: smear photographs with a box around each cell; the white cells are cut out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from PIL import Image

from datasets.errors import DatasetError
from datasets.images import list_images, read_image
from datasets.published import PublishedImage, PublishedSet, compare_counts, find_folder
from datasets.safe_xml import read_xml
from datasets.sources.kaggle_blood_cells import read_photograph_labels
from datasets.taxonomy import WBC_CLASSES

PUBLISHED: Final = {"photographs": 364, "Platelets": 361, "RBC": 4155, "WBC": 372}
"""Counted in the repository's own files; its README states the 364."""
DEFAULT_MARGIN: Final = 0.1
_WHITE: Final = "WBC"


@dataclass(frozen=True)
class Box:
    """A named box; corners in pixels of its photograph, right and bottom exclusive."""

    name: str
    left: int
    top: int
    right: int
    bottom: int


def read_bccd(
    root: Path, *, labels: Path | None = None, margin: float = DEFAULT_MARGIN
) -> PublishedSet:
    """Return a square crop around each white cell whose kind is known.

    Card:
        What: 364 photographs of a smear, 640x480 JPEG, with VOC boxes: 4,155 RBC, 372 WBC,
            361 Platelets.
        Classes: basophil, eosinophil, lymphocyte, monocyte, neutrophil. BCCD itself only says WBC;
            the kind of each photograph's cells stands in labels.csv of Kaggle's dataset-master.
            A photograph is used where it names as many cells as there are boxes, all of one kind.
        Splits: none for cells (ImageSets is for detection); drawn here, cells of one photograph
            together.
        Licence: MIT.
        Citation: Shenggan, BCCD Dataset, 2017.
        Source: https://github.com/Shenggan/BCCD_Dataset
        Folders: ``BCCD/JPEGImages/*.jpg``, ``BCCD/Annotations/*.xml``, and labels.csv in `root` or
            its ``dataset-master``, or named by `labels`. `root` may also be ``BCCD`` itself.

    Args:
        root: Folder that holds ``BCCD``.
        labels: labels.csv of Kaggle's dataset-master.
        margin: Added to each side of the box's longer side, as a fraction of it.

    Raises:
        DatasetError: A folder or labels.csv is missing, or an annotation is broken.
    """
    if not margin >= 0:
        raise DatasetError(f"--margin must be 0 or more, not {margin}.")
    folder = find_folder(root, "BCCD", "BCCD_Dataset-master/BCCD")
    if not (folder / "Annotations").is_dir() or not (folder / "JPEGImages").is_dir():
        raise DatasetError(
            f"{folder} lacks Annotations/ or JPEGImages/. Expected BCCD/JPEGImages/*.jpg and "
            "BCCD/Annotations/*.xml. See README, Data."
        )
    cells_of = read_photograph_labels(_find_labels(root, labels))
    images: list[PublishedImage] = []
    left_out: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for path in list_images(folder / "JPEGImages"):
        found["photographs"] += 1
        annotation = folder / "Annotations" / f"{path.stem}.xml"
        if not annotation.is_file():
            left_out["photographs without annotation"] += 1
            continue
        boxes = read_boxes(annotation)
        found.update(box.name for box in boxes)
        white = [box for box in boxes if box.name == _WHITE]
        cells = cells_of.get(path.stem, ())
        reason = _find_obstacle(cells, len(white))
        if reason:
            left_out[reason] += len(white)
            continue
        images += [
            PublishedImage(
                image_id=f"{cells[0]}/{path.stem}_{index}.png",
                label=cells[0],
                make=partial(cut_box, path, box, margin),
                group=path.stem,
            )
            for index, box in enumerate(white)
        ]
    return PublishedSet(
        name="BCCD",
        classes=WBC_CLASSES,
        images=tuple(images),
        root=folder,
        left_out={reason: number for reason, number in left_out.items() if number},
        differences=tuple(compare_counts("", found, PUBLISHED)),
    )


def read_boxes(path: Path) -> list[Box]:
    """Return the boxes of a VOC annotation in the file's order.

    VOC counts pixels from 1 and includes the last one; our boxes count from 0 and exclude it.

    Raises:
        DatasetError: The file is no VOC annotation, or a white cell's box has no area.
    """
    root = read_xml(path)
    if root.tag != "annotation":
        raise DatasetError(f"{path}: <{root.tag}> is no VOC annotation.")
    boxes = []
    for item in root.iter("object"):
        left, top, right, bottom = (
            _read_number(item, f"bndbox/{corner}", path)
            for corner in ("xmin", "ymin", "xmax", "ymax")
        )
        name = (item.findtext("name") or "").strip()
        box = Box(name, max(left - 1, 0), max(top - 1, 0), right, bottom)
        # The set may hold red-cell boxes without area; only white cells are ever cut out.
        if name == _WHITE and (box.right <= box.left or box.bottom <= box.top):
            raise DatasetError(f"{path}: the box {left}, {top}, {right}, {bottom} is empty.")
        boxes.append(box)
    return boxes


def cut_box(path: Path, box: Box, margin: float) -> Image.Image:
    """Return the square around `box`, moved inside the photograph where it would stand out.

    Raises:
        DatasetError: The box lies outside the photograph.
    """
    image = read_image(path)
    if box.left >= image.width or box.top >= image.height:
        raise DatasetError(
            f"{path}: the box at {box.left}, {box.top} lies outside {image.width}x{image.height}."
        )
    longer = max(box.right - box.left, box.bottom - box.top)
    side = min(round(longer * (1 + 2 * margin)), image.width, image.height)
    left = min(max((box.left + box.right - side) // 2, 0), image.width - side)
    top = min(max((box.top + box.bottom - side) // 2, 0), image.height - side)
    return image.crop((left, top, left + side, top + side))


def _find_labels(root: Path, labels: Path | None) -> Path:
    if labels is not None:
        return labels
    for folder in (root, root / "dataset-master", root / "dataset-master" / "dataset-master"):
        if (folder / "labels.csv").is_file():
            return folder / "labels.csv"
    raise DatasetError(
        f"No labels.csv under {root}: BCCD does not tell kinds of white cells. Take labels.csv of "
        "Kaggle's dataset-master (README, Data) and pass it with --labels."
    )


def _find_obstacle(cells: tuple[str, ...], num_boxes: int) -> str | None:
    """Return why the boxes cannot be given a kind, or None."""
    if not cells:
        return "white cells of unlabelled photographs"
    if len(set(cells)) > 1:
        return "white cells of photographs with several kinds"
    if len(cells) != num_boxes:
        return "white cells of photographs with more or fewer boxes than labels"
    return None


def _read_number(item: Element, name: str, path: Path) -> int:
    text = item.findtext(name) or ""
    try:
        return round(float(text))
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"{path}: {name} {text!r} is no number.") from error
