"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds.

    A reader therefore never sees half a file, and a failed or killed writer leaves the earlier
    file as it was. The name carries the process id, so two writers do not share a temporary file.
    Content and name are on the disk before the block ends: a power cut later loses neither.

    Raises:
        OSError: With a message that says what to do when the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync_and_rename(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC, "No space left on the disk; free some and resume", str(path)
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync_and_rename(temporary: Path, path: Path) -> None:
    """Bring a finished file to the disk, then give it its name, then bring the name there."""
    sync(temporary)
    temporary.replace(path)
    # Some network disks cannot sync a folder; they order names and contents by themselves.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sync(path: Path) -> None:
    """Bring a file's content to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Delete what killed writers of `name` left in `folder`; the caller holds their lock."""
    for path in folder.glob(f".{name}.*.tmp"):
        path.unlink(missing_ok=True)
