"""A plain set of cells: one folder of images a class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from datasets.errors import DatasetError
from datasets.images import list_images, split_readable
from datasets.samples import Sample, SampleSet, hash_file, percents_from
from datasets.splits import draw_parts, draw_subsets
from datasets.synthetic import is_synthetic_root
from datasets.taxonomy import WBC_CLASSES, Split

SPLIT_FRACTIONS: Final[dict[Split, float]] = {"train": 0.7, "val": 0.1, "test": 0.2}


def find_class_folders(
    root: Path, classes: Sequence[str] = WBC_CLASSES, ignored: Sequence[str] = ()
) -> dict[str, Path]:
    """Return the folder of each class, matched without regard to case.

    Args:
        root: Folder that holds one folder a class.
        classes: Classes that must be there.
        ignored: Further folder names that may be there and are not read.

    Raises:
        DatasetError: `root` or a class folder is missing, or there is an unknown folder.
    """
    expected = ", ".join(classes)
    if not root.is_dir():
        raise DatasetError(f"No folder {root}. Expected one folder of images a class: {expected}.")
    found = {
        path.name.lower(): path
        for path in sorted(root.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    missing = [name for name in classes if name.lower() not in found]
    if missing:
        raise DatasetError(
            f"{root} lacks the class folder(s) {', '.join(missing)}; it holds "
            f"{', '.join(found) or 'no folders'}. Expected {expected}. Pass --classes if the set "
            "has other ones."
        )
    allowed = {name.lower() for name in (*classes, *ignored)}
    unknown = [path.name for name, path in found.items() if name not in allowed]
    if unknown:
        raise DatasetError(
            f"{root} holds unknown class folder(s) {', '.join(unknown)}; known: {expected}. To "
            f"leave them out pass --ignore-classes {' '.join(unknown)}."
        )
    return {name: found[name.lower()] for name in classes}


def read_folders(
    root: Path,
    *,
    classes: Sequence[str] = WBC_CLASSES,
    ignored: Sequence[str] = (),
    fractions: dict[Split, float] = SPLIT_FRACTIONS,
    seed: int = 0,
    group_pattern: str | None = None,
    check_readable: bool = False,
    skip_unreadable: bool = False,
) -> SampleSet:
    """Return a folder-per-class set with drawn splits and nested label subsets.

    Files with the same bytes share a group, so no exact duplicate is in two splits.

    Args:
        root: Folder that holds one folder a class.
        classes: Class names, in the order of the label indices.
        ignored: Further folders that are not read.
        fractions: Share of each split, summing to 1.
        seed: Of the draw.
        group_pattern: Regular expression whose match in a file name (its first capture group if
            it has one) names the image's group, e.g. the patient. Default: each image its own.
        check_readable: Decode every file first.
        skip_unreadable: Decode every file first and leave out, and list, those that do not.

    Raises:
        UnreadableImageError: `check_readable` is set and a file does not decode.
        DatasetError: As `find_class_folders`; or a class folder has no images, the pattern is
            no regular expression or matches nothing in a name, or a class has too few groups.
    """
    folders = find_class_folders(root, classes, ignored)
    paths = [(name, path) for name, folder in folders.items() for path in list_images(folder)]
    skipped: list[Path] = []
    if check_readable or skip_unreadable:
        readable, skipped = split_readable(
            (path for _, path in paths), raise_first=not skip_unreadable
        )
        kept = set(readable)
        paths = [(name, path) for name, path in paths if path in kept]
    for name, folder in folders.items():
        if not any(label == name for label, _ in paths):
            raise DatasetError(f"{folder} holds no readable image of class {name}.")
    labels = [label for label, _ in paths]
    hashes = [hash_file(path) for _, path in paths]
    groups = _name_groups([path for _, path in paths], hashes, root, group_pattern)
    splits = draw_parts(labels, groups, fractions, seed)
    training = [index for index, split in enumerate(splits) if split == "train"]
    subsets = dict(
        zip(
            training,
            draw_subsets([labels[i] for i in training], [groups[i] for i in training], seed),
            strict=True,
        )
    )
    samples = tuple(
        Sample(
            sample_id=path.relative_to(root).as_posix(),
            path=path,
            label=label,
            split=splits[index],
            group=groups[index],
            sha256=hashes[index],
            label_percents=percents_from(subsets.get(index, 1)),
        )
        for index, (label, path) in enumerate(paths)
    )
    return SampleSet(
        name=root.resolve().name,
        classes=tuple(classes),
        samples=samples,
        is_synthetic=is_synthetic_root(root),
        skipped=tuple(path.relative_to(root).as_posix() for path in skipped),
    )


def _name_groups(
    paths: Sequence[Path], hashes: Sequence[str], root: Path, pattern: str | None
) -> list[str]:
    """Return a group name a file; files of one pattern match or of the same bytes share it."""
    names = [path.relative_to(root).as_posix() for path in paths]
    if pattern is not None:
        names = [match_group(pattern, path.name) for path in paths]
    unique, name_index = np.unique(names, return_inverse=True)
    contents, content_index = np.unique(hashes, return_inverse=True)
    size = len(unique) + len(contents)
    links = coo_array(
        (np.ones(len(names)), (name_index, content_index + len(unique))), shape=(size, size)
    )
    _, component = connected_components(links, directed=False)
    first_name = {component[index]: unique[index] for index in reversed(range(len(unique)))}
    return [str(first_name[component[index]]) for index in name_index]


def match_group(pattern: str, file_name: str) -> str:
    """Return the group that `pattern` finds in a file name.

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
