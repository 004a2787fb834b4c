"""Where the files that a table names may lie.

A table, e.g. ``manifest.csv``, names files relative to a folder. No name leads out of that folder:
neither as an absolute path, nor by ``..``, nor through a link. The folder itself is the table's
own, or one that ``manifest.json`` states, as ``prepare_wbc.py --root`` was told it. Whoever opens
sets of strangers states in the environment which folders may be read besides.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath
from typing import Final

from datasets.errors import DatasetError

VARIABLE: Final = "LEUKOFUSE_IMAGE_ROOTS"
"""Folders, divided as in PATH. Where it is set, images are read from a set's own folder and from
these only, even if it is empty; links may lead into these folders too."""

log = logging.getLogger(__name__)


class ImageRoot:
    """A folder, and the files in it that a table names.

    Args:
        root: The folder; it may itself be reached through a link.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._allowed = (root.resolve(), *(allowed_folders() or ()))
        self._is_inside: dict[Path, bool] = {}

    def find(self, name: str, where: str, advice: str) -> Path:
        """Return the file of this name below the root.

        Args:
            name: A relative path with slashes.
            where: File and line of the name, for the error message.
            advice: What to do where the file is missing.

        Raises:
            DatasetError: The name leads out of the root, or to no regular file.
        """
        path = self.place(name, where)
        try:
            is_file = path.is_file()
        except OSError:  # The name is too long.
            is_file = False
        if not is_file:
            raise DatasetError(f"{where}: no file {str(path)[:500]!r}. {advice}")
        return path

    def place(self, name: str, where: str) -> Path:
        """Return the path of this name below the root, whether there is a file or not.

        Args:
            name: As in `find`.
            where: As in `find`.

        Raises:
            DatasetError: The name leads out of the root.
        """
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise DatasetError(f"{where}: path {name[:200]!r} leads out of {self.root}.")
        path = self.root / relative
        if not self._holds(path):
            raise DatasetError(
                f"{where}: {path} lies behind a link that leads out of {self.root}, to "
                f"{path.resolve()}. If that is meant, name its folder in the environment variable "
                f"{VARIABLE}."
            )
        return path

    def _holds(self, path: Path) -> bool:
        """Return whether a file lies here with all links followed; asks once for each folder."""
        try:
            if path.is_symlink():
                return is_below(path.resolve(), self._allowed)
            folder = path.parent
            if folder not in self._is_inside:
                self._is_inside[folder] = is_below(folder.resolve(), self._allowed)
        except (OSError, ValueError, RuntimeError):
            return True  # Too long a name, or a loop of links: there is no such file anyway.
        return self._is_inside[folder]


def find_stated_root(stated: str, folder: Path, own: Path) -> Path:
    """Return the folder of images that a file in `folder` states.

    Args:
        stated: Absolute, or relative to `folder`.
        folder: Of the file.
        own: The whole prepared folder; what lies in it is always allowed.

    Raises:
        DatasetError: It lies elsewhere, and the environment states which folders may be read and
            that is none of them.
    """
    root = folder / stated
    if is_below(root.resolve(), [own.resolve()]):
        return root
    allowed = allowed_folders()
    if allowed is not None and not is_below(root.resolve(), allowed):
        raise DatasetError(
            f"{folder} says that its images lie in {str(root)[:500]}, which is neither in it nor "
            f"in one of the folders that {VARIABLE} states. Add it there if it may be read."
        )
    log.info("The images of %s are read from %s.", folder, root)
    return root


def allowed_folders() -> list[Path] | None:
    """Return the folders that the environment states; None where it states nothing."""
    stated = os.environ.get(VARIABLE)
    if stated is None:
        return None
    return [Path(name).resolve() for name in stated.split(os.pathsep) if name]


def is_below(path: Path, folders: list[Path] | tuple[Path, ...]) -> bool:
    """Return whether a resolved path is one of the resolved folders or in one."""
    return any(folder == path or folder in path.parents for folder in folders)
