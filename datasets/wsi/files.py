"""The slides below a folder, each with its annotation file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.file_names import require_utf8
from datasets.sources.camelyon16_slides import is_fully_annotated, kind_of
from datasets.synthetic import is_synthetic_root
from datasets.taxonomy import Split

SLIDE_SUFFIXES: Final = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".svslide", ".bif"}
)
_TCGA_PATIENT: Final = re.compile(r"tcga-\w{2}-\w{4}", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlideFile:
    """A slide, and what is known of it before it is opened.

    Attributes:
        path: Of the slide.
        slide_id: Its file name without suffix.
        group: Patient or, where the name does not tell, the slide.
        xml_path: ASAP annotations; None without.
        is_labelled: Whether its tiles are known to be tumor or normal.
        is_fully_annotated: Whether what lies outside the polygons is known to be normal.
        official_split: Where the set's authors put it, None where they leave it open.
        is_synthetic: Whether it was drawn and not scanned.
    """

    path: Path
    slide_id: str
    group: str
    xml_path: Path | None = None
    is_labelled: bool = False
    is_fully_annotated: bool = True
    official_split: Split | None = None
    is_synthetic: bool = False


def find_slides(
    root: Path, annotations: Path | None = None, group_pattern: str | None = None
) -> list[SlideFile]:
    """Return the slides in `root` and its sub-folders, by name.

    Args:
        root: Folder of slides, or one slide.
        annotations: Folder of ASAP files; default: `root`. A file belongs to the slide of its name.
        group_pattern: Regular expression that finds the patient in a slide's name, by its first
            group if it has one. Default: a TCGA barcode's patient, else the slide.

    Raises:
        DatasetError: There are no slides, two of one name, one whose name is not UTF-8, two
            annotation files of one name, or the pattern is none or does not match.
    """
    found = [root] if root.is_file() else _list_files(root, SLIDE_SUFFIXES)
    # CAMELYON16's masks are TIFF files beside its slides.
    paths = [path for path in found if not path.stem.lower().endswith("_mask")]
    if not paths:
        raise DatasetError(
            f"No slides under {root}. Expected files ending in {', '.join(sorted(SLIDE_SUFFIXES))}."
        )
    for path in paths:
        require_utf8(path)
    slides = _index_by_name(paths, "slides")
    search = annotations or (root.parent if root.is_file() else root)
    if annotations is not None and not annotations.is_dir():
        raise DatasetError(f"--annotations {annotations} is no folder.")
    xml_files = _index_by_name(_list_files(search, {".xml"}), "annotation files")
    orphans = sorted(xml_files.keys() - slides.keys())
    if orphans and not root.is_file():
        log.info("Annotation files without a slide of their name: %s", ", ".join(orphans))
    has_test_files = any(kind_of(name) == "test" for name in xml_files)
    return [
        _describe(path, xml_files.get(slide_id), has_test_files, group_pattern)
        for slide_id, path in sorted(slides.items())
    ]


def _describe(
    path: Path, xml_path: Path | None, has_test_files: bool, group_pattern: str | None
) -> SlideFile:
    kind = kind_of(path.stem)
    # A test slide without a file is normal only if the files of the others are there.
    is_normal = kind == "normal" or (kind == "test" and has_test_files)
    return SlideFile(
        path=path,
        slide_id=path.stem,
        group=_find_group(path.stem, group_pattern),
        xml_path=xml_path,
        is_labelled=xml_path is not None or is_normal,
        is_fully_annotated=is_fully_annotated(path.stem),
        official_split="test" if kind == "test" else None,
        is_synthetic=is_synthetic_root(path.parent),
    )


def _find_group(slide_id: str, pattern: str | None) -> str:
    if pattern is None:
        patient = _TCGA_PATIENT.match(slide_id)
        return patient.group(0).upper() if patient else slide_id
    try:
        match = re.search(pattern, slide_id)
    except re.error as error:
        raise DatasetError(
            f"--group-pattern {pattern!r} is no regular expression: {error}"
        ) from error
    if match is None:
        raise DatasetError(f"--group-pattern {pattern!r} matches nothing in {slide_id!r}.")
    return match.group(1) if match.re.groups else match.group(0)


def _list_files(root: Path, suffixes: Iterable[str]) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def _index_by_name(paths: Iterable[Path], what: str) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_name:
            raise DatasetError(
                f"Two {what} of one name: {by_name[path.stem]} and {path}. Names must be unique; "
                "rename or remove one, or pass a narrower folder."
            )
        by_name[path.stem] = path
    return by_name
