"""Polygons that pathologists drew in ASAP, read from its XML."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from datasets.errors import DatasetError
from datasets.safe_xml import read_xml
from datasets.wsi.crossings import crosses_more_than

TUMOR_GROUPS: Final = frozenset({"_0", "_1", "tumor", "metastases"})
"""CAMELYON16's ``_0`` and ``_1``; later releases and CAMELYON17 spell them out."""
EXCLUSION_GROUPS: Final = frozenset({"_2", "exclusion", "normal"})
MAX_COORDINATE: Final = 10_000_000
"""In level-0 pixels; no scanner's slides are so large."""
MARGIN: Final = 0.1
"""Share of the slide's longer side by which a polygon may lie outside of it."""
MAX_CROSSINGS: Final = 1_000
"""Of an outline with itself. The inside of as many is found in two seconds, of ten times as many in
some minutes; a hand that trembles makes tens."""

_AREA_TYPES: Final = frozenset({"polygon", "spline", "rectangle"})
_NAMED: Final = 3


@dataclass(frozen=True)
class Outline:
    """One closed line.

    Attributes:
        points: (x, y) in level-0 pixels, at least three.
        is_tumor: Whether it encloses tumor, or else what is to be cut out of it.
    """

    points: tuple[tuple[float, float], ...]
    is_tumor: bool


@dataclass(frozen=True)
class AsapFile:
    """What stands in one ASAP file.

    Attributes:
        outlines: All that enclose an area, in the order of the file.
        skipped: Number of annotations without an area (dots, fewer than three points).
    """

    outlines: tuple[Outline, ...]
    skipped: int


def read_asap(path: Path, slide_size: tuple[int, int] | None = None) -> AsapFile:
    """Return the outlines in an ASAP file.

    A document type declaration is refused before anything in it is read, so no entity is expanded
    and nothing outside the file is opened.

    Args:
        path: Of the XML file.
        slide_size: (width, height) in level-0 pixels; if given, the polygons must lie on it, a
            tenth of its longer side beyond its edges allowed.

    Raises:
        DatasetError: The file is missing, too large, no XML, no ASAP file, has a document type
            declaration, an unknown group, a coordinate that is no number or far outside, or an
            outline with more than `MAX_CROSSINGS` self-crossings.
    """
    root = read_xml(path)
    annotations = root.findall("./Annotations/Annotation")
    if root.tag != "ASAP_Annotations":
        raise DatasetError(
            f"{path} is no ASAP file: its root is <{root.tag[:40]}>, not <ASAP_Annotations>."
        )
    outlines: list[Outline] = []
    skipped = 0
    for annotation in annotations:
        name = f"{path}, annotation {annotation.get('Name', '')[:40]!r}"
        points = _read_points(annotation, name, slide_size)
        has_area = len(set(points)) >= _NAMED
        if annotation.get("Type", "").lower() not in _AREA_TYPES or not has_area:
            skipped += 1
            continue
        if crosses_more_than(points, MAX_CROSSINGS):
            raise DatasetError(
                f"{name} crosses itself more than {MAX_CROSSINGS:,} times; no hand draws that, and "
                "to find its inside would take hours. Draw it again in ASAP, or remove it."
            )
        outlines.append(Outline(points, _is_tumor(annotation.get("PartOfGroup", ""), name)))
    return AsapFile(tuple(outlines), skipped)


def _read_points(
    annotation: Element, name: str, slide_size: tuple[int, int] | None
) -> tuple[tuple[float, float], ...]:
    numbered: list[tuple[int, float, float]] = []
    for element in annotation.iterfind("./Coordinates/Coordinate"):
        texts = [element.get(key, "") for key in ("Order", "X", "Y")]
        try:
            order, x, y = int(texts[0]), float(texts[1]), float(texts[2])
        except ValueError:
            order, x, y = 0, math.nan, math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise DatasetError(
                f"{name} has a point (Order, X, Y) of {', '.join(text[:30] for text in texts)}; "
                "expected a whole number and two finite ones. Correct it in ASAP."
            )
        _require_near(x, y, name, slide_size)
        numbered.append((order, x, y))
    twice = [order for order, n in Counter(order for order, _, _ in numbered).items() if n > 1]
    if twice:
        raise DatasetError(f"{name} has two points with Order {twice[0]}. Correct it in ASAP.")
    return tuple((x, y) for _, x, y in sorted(numbered))


def _require_near(x: float, y: float, name: str, slide_size: tuple[int, int] | None) -> None:
    width, height = slide_size or (MAX_COORDINATE, MAX_COORDINATE)
    slack = MARGIN * max(width, height)
    if -slack <= x <= width + slack and -slack <= y <= height + slack:
        return
    raise DatasetError(
        f"{name} has a point at ({x:.0f}, {y:.0f}), far outside of the slide's {width} x {height} "
        "level-0 pixels. The file belongs to another slide, or to another size of this one."
    )


def _is_tumor(group: str, name: str) -> bool:
    if group.lower() in TUMOR_GROUPS:
        return True
    if group.lower() in EXCLUSION_GROUPS:
        return False
    raise DatasetError(
        f"{name} is in the group {group[:40]!r}. Known are {', '.join(sorted(TUMOR_GROUPS))} "
        f"(tumor) and {', '.join(sorted(EXCLUSION_GROUPS))} (cut out of it). Rename it in ASAP."
    )
