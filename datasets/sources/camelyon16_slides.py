"""Camelyon16's whole slides: what their names and annotation files mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

Kind = Literal["normal", "tumor", "test"]

PUBLISHED_SLIDES: Final[dict[Kind, int]] = {"normal": 159, "tumor": 111, "test": 129}
"""399 by the README of the set. normal_086 was found to hold tumor and became tumor_111; test_049,
a copy of another slide, was taken back."""

PARTLY_ANNOTATED: Final = frozenset(
    [f"tumor_{n:03d}" for n in (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85)]
    + ["tumor_092", "tumor_095", "tumor_110", "test_114"]
)
"""Slides in which not every lesion is outlined, by the README of the set: what lies outside the
polygons is not known to be normal."""

_NAME: Final = re.compile(r"(normal|tumor|test)_(\d{3})(?!\d)", re.IGNORECASE)


def name_of(slide_id: str) -> str | None:
    """Return the published name that `slide_id` begins with, e.g. ``tumor_001``, or None.

    Card:
        What: 399 H&E slides of sentinel lymph nodes, one a patient, 40x or 20x scanners of two
            hospitals, about 0.24 µm per pixel; 270 for training, 129 for the test.
        Classes: normal, tumor. By file name: ``normal_*`` hold no tumor and have no annotation
            file; each ``tumor_*`` has one; of ``test_*`` those with tumor have one.
        Annotations: ASAP XML, polygons in level-0 pixels. Groups ``_0`` and ``_1`` are tumor,
            ``_2`` is cut out of it. 20 training slides and one of the test are annotated in part.
        Doubts: Liu et al. (arXiv 1703.02442) report two training slides wrongly called normal; the
            set's README corrects normal_086 only. Some published code leaves out normal_144 too;
            here it is normal.
        Splits: ``test_*`` is the official test; train and val are drawn here, by slide.
        Source: CAMELYON16 (Ehteshami Bejnordi et al., JAMA 318:2199, 2017; Litjens et al.,
            GigaScience 7:giy065, 2018), CC0, camelyon17.grand-challenge.org/Data.
        Folders: any, e.g. ``images/tumor_001.tif`` with ``annotations/tumor_001.xml``, or
            ``training/{normal,tumor}/*.tif`` with ``training/lesion_annotations/*.xml``. A slide
            and its XML bear the same name; they are looked for in all sub-folders.
    """
    match = _NAME.match(slide_id)
    return match.group(0).lower() if match else None


def kind_of(slide_id: str) -> Kind | None:
    """Return what the name says of the slide, None for a slide of another set."""
    match = _NAME.match(slide_id)
    if match is None:
        return None
    kinds: dict[str, Kind] = {"normal": "normal", "tumor": "tumor", "test": "test"}
    return kinds[match.group(1).lower()]


def is_fully_annotated(slide_id: str) -> bool:
    """Return whether what lies outside the slide's polygons is known to be normal."""
    return name_of(slide_id) not in PARTLY_ANNOTATED


def compare_with_published(slide_ids: Iterable[str]) -> list[str]:
    """Return a line for each kind whose number of slides is not the published one."""
    found = Counter(kind_of(slide_id) for slide_id in slide_ids)
    return [
        f"{kind}_*: {found[kind]} slides, published {number}"
        for kind, number in PUBLISHED_SLIDES.items()
        if found[kind] != number
    ]
