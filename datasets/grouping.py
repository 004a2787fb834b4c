"""Groups: what must stay in one split, from file names, file contents and lists."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from datasets.errors import DatasetError
from datasets.published import PublishedSet

GROUP_COLUMNS: Final = ("path", "group")


def group_images(
    published: PublishedSet,
    hashes: Sequence[str],
    *,
    pattern: str | None = None,
    groups_path: Path | None = None,
    copies: Sequence[str] | None = None,
) -> list[str]:
    """Return a group name an image; this is where all knowledge of groups meets.

    Images share a group if any of these says so: the publication (photograph, slide), the match
    of `pattern` in the file name, the list in `groups_path`, `copies`, or the same bytes.

    Args:
        published: The images.
        hashes: SHA-256 of each image file.
        pattern: Regular expression; see `match_group`.
        groups_path: CSV with the columns path (relative to the images' root) and group.
        copies: Group of each image as `leakage.find_groups` finds it by pixels.

    Raises:
        DatasetError: As `match_group` and `read_groups`.
    """
    ids = [image.image_id for image in published.images]
    told = [image.group or image.image_id for image in published.images]
    others = [told, hashes, *([copies] if copies is not None else [])]
    if groups_path is not None:
        others.append(read_groups(groups_path, ids))
    if pattern is not None:
        return merge_groups([match_group(pattern, Path(name).name) for name in ids], *others)
    return merge_groups(*others)


def merge_groups(first: Sequence[str], *others: Sequence[str]) -> list[str]:
    """Return a group name an item; items with the same name in any naming share it.

    A group takes the name that sorts first among those of its items in `first`.
    """
    names, first_index = np.unique(np.asarray(first), return_inverse=True)
    size = len(names)
    ends = [first_index]
    for naming in others:
        unique, index = np.unique(np.asarray(naming), return_inverse=True)
        ends.append(index + size)
        size += len(unique)
    links = coo_array(
        (np.ones(len(first) * len(ends)), (np.tile(first_index, len(ends)), np.concatenate(ends))),
        shape=(size, size),
    )
    _, component = connected_components(links, directed=False)
    first_name = {component[index]: names[index] for index in reversed(range(len(names)))}
    return [str(first_name[component[index]]) for index in first_index]


def read_groups(path: Path, image_ids: Sequence[str]) -> list[str]:
    """Return the group of each image from a CSV with the columns path and group.

    Raises:
        DatasetError: The file is no such CSV, names a path twice, or lacks an image.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in GROUP_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(
                    f"--groups {path} lacks the column(s) {', '.join(missing)}. Expected "
                    f"{', '.join(GROUP_COLUMNS)}, as experiments/audit_data.py writes them."
                )
            group_of: dict[str, str] = {}
            for row in reader:
                name = Path(row["path"]).as_posix()
                if group_of.setdefault(name, row["group"]) != row["group"]:
                    raise DatasetError(
                        f"--groups {path}, line {reader.line_num}: {name} has two groups."
                    )
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"--groups {path} is not a CSV file in UTF-8 ({error}).") from error
    lacking = [name for name in image_ids if not group_of.get(name)]
    if lacking:
        raise DatasetError(
            f"--groups {path} names no group for {len(lacking)} of {len(image_ids)} images, e.g. "
            f"{lacking[0]}. Its paths are relative to the folder of the images."
        )
    return [group_of[name] for name in image_ids]


def match_group(pattern: str, file_name: str) -> str:
    """Return the group that `pattern` finds in a file name.

    It is the first capture group if there is one, else the whole match.

    Raises:
        DatasetError: `pattern` is no regular expression, or does not match.
    """
    try:
        match = re.search(pattern, file_name)
    except re.error as error:
        raise DatasetError(
            f"--group-pattern {pattern!r} is no regular expression: {error}"
        ) from error
    if match is None:
        raise DatasetError(f"--group-pattern {pattern!r} matches nothing in {file_name!r}.")
    return match.group(1) if match.re.groups else match.group(0)
