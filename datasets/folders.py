"""A plain set of cells: one folder of images a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.grouping import group_images
from datasets.images import list_images
from datasets.preparing import draw_set, hash_images
from datasets.published import PublishedImage, PublishedSet, refuse_repeated
from datasets.samples import SampleSet
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
        DatasetError: `root` or a class folder is missing, there is an unknown folder, or two
            classes or folders differ only in case.
    """
    expected = ", ".join(classes)
    refuse_repeated(classes)
    if not root.is_dir():
        raise DatasetError(f"No folder {root}. Expected one folder of images a class: {expected}.")
    folders = _list_folders(root)
    found: dict[str, Path] = {}
    for path in folders:
        twin = found.setdefault(path.name.lower(), path)
        if twin is not path:
            raise DatasetError(
                f"{root} holds both {twin.name} and {path.name}, which differ only in case, and "
                "case does not count in the names of classes. Merge them, or rename one."
            )
    missing = [name for name in classes if name.lower() not in found]
    if missing:
        raise DatasetError(
            f"{root} lacks the class folder(s) {', '.join(missing)}; it holds "
            f"{', '.join(path.name for path in folders) or 'no folders'}. Expected {expected}. "
            f"{_advise(folders)}"
        )
    allowed = {name.lower() for name in (*classes, *ignored)}
    unknown = [path.name for name, path in found.items() if name not in allowed]
    if unknown:
        raise DatasetError(
            f"{root} holds unknown class folder(s) {', '.join(unknown)}; known: {expected}. To "
            f"leave them out pass --ignore-classes {' '.join(unknown)}."
        )
    return {name: found[name.lower()] for name in classes}


def _list_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _advise(folders: Sequence[Path]) -> str:
    """Return what to do about missing classes: the root may be one level too high."""
    inner = [path for path in folders if any(map(_holds_images, _list_folders(path)))]
    if len(inner) == 1:
        return f"Its folder {inner[0].name} holds class folders: pass that."
    return "Pass --classes if the set has other ones."


def _holds_images(folder: Path) -> bool:
    return bool(list_images(folder, any_name=True))


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
    published = publish_folders(root, classes, ignored)
    hashed = hash_images(published, check_readable=check_readable, skip_unreadable=skip_unreadable)
    groups = group_images(hashed.published, hashed.hashes, pattern=group_pattern)
    return draw_set(hashed, groups, fractions, seed)


def publish_folders(
    root: Path, classes: Sequence[str] = WBC_CLASSES, ignored: Sequence[str] = ()
) -> PublishedSet:
    """Return the images of a folder-per-class set; arguments and errors as `find_class_folders`."""
    return PublishedSet(
        name=root.resolve().name,
        classes=tuple(classes),
        images=tuple(
            PublishedImage(path.relative_to(root).as_posix(), label, path)
            for label, folder in find_class_folders(root, classes, ignored).items()
            for path in list_images(folder)
        ),
        root=root,
    )
