"""Names of files that a table can hold."""

from __future__ import annotations

from pathlib import Path

from datasets.errors import DatasetError


def require_utf8(path: Path) -> None:
    """Raise where a path is not UTF-8, as names from old disks and archives may be.

    Manifests and tables of results are UTF-8: a run would fail when it writes its results.

    Raises:
        DatasetError: It is not; the message shows the bytes that are not as escapes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise DatasetError(
            f"{shown}: the name is not UTF-8, so that no manifest or table could hold it. Rename "
            "the file, or the folder."
        ) from error
