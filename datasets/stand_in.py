"""Stand-ins: images of one published set in the layout of another, and named as such in results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.published import PublishedSet
from datasets.safe_json import read_json_object

STAND_IN_MARKER: Final = "STAND_IN.json"
"""Lies at the root of a stand-in; the name in it replaces that of the set whose layout it is."""


def write_stand_in_marker(root: Path, name: str, layout: str, facts: Mapping[str, Any]) -> None:
    """Mark `root` as a stand-in.

    Args:
        root: Of the laid out images.
        name: What tables call the stand-in.
        layout: Source in whose layout it is.
        facts: How it was made, for the record.
    """
    with write_whole(root / STAND_IN_MARKER) as temporary:
        content = {"name": name, "layout": layout, **facts}
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def name_stand_in(published: PublishedSet, layout: str) -> PublishedSet:
    """Return the set under the name that its marker gives it; without a marker, as it is.

    A stand-in need not have every class of the set whose layout it is in, so its classes are those
    that have images.

    Args:
        published: As the reader of `layout` read it.
        layout: Source whose reader that was; a marker of another layout is passed over.

    Raises:
        DatasetError: The marker is damaged.
    """
    root = published.root.resolve()
    for folder in (root, root.parent):
        path = folder / STAND_IN_MARKER
        if not path.is_file():
            continue
        marker = _read_marker(path)
        if marker.get("layout", layout) != layout:
            continue
        counts = published.count()
        present = tuple(label for label in published.classes if counts[label])
        different = f"this is not {published.name} but {marker['name']}"
        return replace(published, name=marker["name"], classes=present, differences=(different,))
    return published


def _read_marker(path: Path) -> dict[str, Any]:
    try:
        content = read_json_object(path)
    except ValueError as error:
        raise DatasetError(f"{error} Lay the set out again.") from error
    name = content.get("name")
    if not isinstance(name, str) or not name:
        raise DatasetError(
            f"{path} names no set: expected "
            '{"name": "PBC in the layout of Raabin-WBC (stand-in)"}. Lay the set out again with '
            "experiments/lay_out.py."
        )
    return dict(content)
