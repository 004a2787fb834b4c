"""What the audit reads: manifests of cells, tiles of slides, and bare folder trees."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.file_names import require_utf8
from datasets.image_roots import ImageRoot
from datasets.images import IMAGE_SUFFIXES
from datasets.leakage.audit import AuditedImage
from datasets.leakage.reading import place_tile
from datasets.manifest import MANIFEST_NAME, read_manifest
from datasets.mask_files import MASK_FOLDERS, leave_out_masks
from datasets.taxonomy import SPLITS
from datasets.wsi.manifest import TILES_NAME
from datasets.wsi.store import IGNORED, UNLABELLED

SPLIT_OF_FOLDER: Final = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test", "testa": "test", "testb": "test", "test_simple": "test",
}  # fmt: skip
"""Split that a folder's name states, case apart; TestA and TestB as Raabin has them, TEST_SIMPLE
as the Kaggle set."""

TILE_COLUMNS: Final = ("sample_id", "path", "label", "split", "group")
"""Of ``tiles.csv``, those that the audit reads."""

log = logging.getLogger(__name__)


def read_sources(sources: Iterable[Path]) -> list[AuditedImage]:
    """Return the images of all sources, not yet grouped.

    Args:
        sources: Manifests and ``tiles.csv`` (the CSV, or its folder) or folders of images. In a
            bare tree the class is an image's folder and the split the nearest folder named in
            `SPLIT_OF_FOLDER`. Of tiles those that no training reads are left out.

    Raises:
        DatasetError: A source is missing or holds no image, a name is not UTF-8, or a manifest
            cannot be used.
    """
    images: list[AuditedImage] = []
    for source in sources:
        if not source.exists():
            raise DatasetError(f"No file or folder {source}. Give manifests or folders of images.")
        if source.is_file() and source.suffix.lower() != ".csv":
            raise DatasetError(
                f"{source} is neither a manifest (CSV) nor a folder. Give manifests as "
                "experiments/prepare_wbc.py writes them, or folders of images."
            )
        found = _read_source(source)
        if not found:
            raise DatasetError(
                f"{source} holds no image. Expected files ending in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}, a {MANIFEST_NAME}, or a {TILES_NAME} with "
                "labelled tiles."
            )
        images += found
    return images


def _read_source(source: Path) -> list[AuditedImage]:
    folder = source.parent if source.is_file() else source
    if source.name == TILES_NAME or (source.is_dir() and (source / TILES_NAME).is_file()):
        return _read_tiles(folder / TILES_NAME, source)
    if source.is_file() or (source / MANIFEST_NAME).is_file():
        return _read_manifest(source)
    return _read_tree(source)


def _read_manifest(source: Path) -> list[AuditedImage]:
    return [
        AuditedImage(
            path=sample.path,
            source=source,
            label=sample.label or "",
            split=sample.split,
            subset=min(sample.label_percents) if sample.split == "train" else None,
            declared_group=sample.group,
        )
        for sample in read_manifest(source).samples
    ]


def _read_tiles(path: Path, source: Path) -> list[AuditedImage]:
    """Return the labelled tiles; a patient in two splits is for the audit to find."""
    images: list[AuditedImage] = []
    files = ImageRoot(path.parent)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, restval="")
            missing = [name for name in TILE_COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise DatasetError(
                    f"{path} lacks the column(s) {', '.join(missing)}. Write it again with "
                    "experiments/tile_slides.py."
                )
            for row in rows:
                if row["split"] and row["split"] not in SPLITS:
                    raise DatasetError(
                        f"{path}, line {rows.line_num}: split {row['split']!r} is none of "
                        f"{', '.join(SPLITS)}, nor empty."
                    )
                if row["label"] not in (IGNORED, UNLABELLED):
                    where = f"{path}, line {rows.line_num}"
                    images.append(_make_tile(row, files, source, where))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not a CSV file in UTF-8 ({error}).") from error
    if images and not any(image.split for image in images):
        log.warning("%s states no splits yet: too few slides are cut to draw them.", path)
    return images


def _make_tile(row: Mapping[str, str], files: ImageRoot, source: Path, where: str) -> AuditedImage:
    return AuditedImage(
        path=place_tile(files.place(row["path"], where), row["sample_id"]),
        source=source,
        label=row["label"],
        split=row["split"],
        declared_group=row["group"],
    )


def _read_tree(root: Path) -> list[AuditedImage]:
    files = sorted(path for path in root.rglob("*") if _is_image(path, root))
    for path in files:
        require_utf8(path)
    return [
        AuditedImage(path, root, label=path.parent.name, split=_find_split(path, root))
        for path in leave_out_masks(files, root)
    ]


def _is_image(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return (
        path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in parts)
        and not any(part.lower() in MASK_FOLDERS for part in parts[:-1])
        and path.is_file()
    )


def _find_split(path: Path, root: Path) -> str:
    """Return the split by the nearest folder that names one, `root` itself included."""
    folders = (root.resolve().name, *path.relative_to(root).parts[:-1])
    for name in reversed(folders):
        if name.lower() in SPLIT_OF_FOLDER:
            return SPLIT_OF_FOLDER[name.lower()]
    return ""
