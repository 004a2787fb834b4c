"""Image files as a command line names them: files, folders, and patterns with wildcards."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.errors import DatasetError
from datasets.images import IMAGE_SUFFIXES
from datasets.mask_files import MASK_FOLDERS, leave_out_masks


def find_images(sources: Sequence[str]) -> list[Path]:
    """Return the image files that `sources` name, each path once, in the order of the sources.

    Args:
        sources: Of each one: a file, taken whatever its ending; a folder, searched with all its
            sub-folders for image files; or a pattern with ``*``, ``?``, ``[...]`` or ``**``, whose
            matches are taken if they are image files and searched if they are folders. What a
            folder or pattern gives is sorted; hidden files and folders are left out, and of a
            folder also masks, beside their images or in folders named so. A name that exists is
            never read as a pattern.

    Raises:
        DatasetError: A source does not exist or holds no image.
        OSError: A folder cannot be searched.
    """
    found: dict[str, Path] = {}
    for source in sources:
        paths = list(_find(source))
        if not paths:
            endings = ", ".join(sorted(IMAGE_SUFFIXES))
            raise DatasetError(
                f"No image found under {source!r}. Expected a file, a folder or a quoted pattern "
                f"such as 'cells/**/*.jpg'; files are searched for by their ending ({endings})."
            )
        for path in paths:
            found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 (resolve follows links)
    return list(found.values())


def _find(source: str) -> Iterator[Path]:
    path = Path(source)
    if path.is_dir():
        yield from _search(path)
    elif os.path.lexists(path):
        yield path
    elif glob.has_magic(source):
        for match in sorted(map(Path, glob.glob(source, recursive=True))):  # noqa: PTH207
            if match.is_dir():
                yield from _search(match)
            elif _is_image(match.name):
                yield match


def _search(folder: Path) -> Iterator[Path]:
    """Yield the images of a folder tree, sorted; linked folders, which may be loops, are left."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name.lower() not in MASK_FOLDERS
        )
        found += (Path(root, name) for name in sorted(files) if _is_image(name))
    yield from leave_out_masks(found, folder)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _raise(error: OSError) -> None:
    raise error
