"""Locks whose owner can be named: one writer for a run folder, a feature store, a tile folder.

The lock itself is the system's (flock, by filelock) and dies with its process, whatever children
that leaves, so a killed owner never has to be cleaned away. Beside it lies a file that names the
owner, for the messages only.

On network disks the lock reaches as far as the disk's flock does: over all machines on NFS (since
Linux 2.6.12, with its lock service running) and on Lustre mounted with ``flock``, but only within
one machine under ``localflock`` or ``nolock``. Where flock is missing, filelock puts up a marker
file instead and says so.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from datasets.errors import DatasetError
from datasets.files import remove_unfinished, write_whole

log = logging.getLogger(__name__)


class LockedError(DatasetError):
    """Another process holds a lock; the message names it."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        pid: Process id.
        host: Name of the machine.
        command: The command line.
    """

    pid: int
    host: str
    command: str

    @classmethod
    def this_process(cls) -> Owner:
        """Return the process that asks."""
        return cls(os.getpid(), socket.gethostname(), shlex.join(sys.argv))

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command})"


class OwnedLock:
    """A lock at `path`; the owner's name lies beside it as ``NAME.owner``.

    Args:
        path: Of the lock file; its folder must exist when the lock is taken.
        what: What is locked, for messages, e.g. ``runs/base_wbc/seed-0``.
        waits: In a ``with`` block, wait for another owner, and say so, instead of raising.
    """

    def __init__(self, path: Path, what: object, *, waits: bool = False) -> None:
        self.path = path
        self.what = what
        self.waits = waits
        self._lock = FileLock(path)

    @property
    def owner_path(self) -> Path:
        """The file that names the owner."""
        return owner_path(self.path)

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            LockedError: Another process holds it, and `waits` is not set.
            DatasetError: The lock file cannot be written.
        """
        try:
            try:
                self.acquire()
            except LockedError as error:
                if not self.waits:
                    raise
                log.warning("Waiting: %s", error)
                self._lock.acquire()
                self._sign()
        except OSError as error:
            raise DatasetError(
                f"Cannot write to {self.path.parent} ({error}). Mend the permissions, free space, "
                "or pass a --cache-root or --out elsewhere."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            LockedError: Another process holds it.
            OSError: The lock file cannot be written.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            owner = read_owner(self.path) or "another process"
            raise LockedError(f"{self.what} is held by {owner}.") from None
        self._sign()

    def release(self) -> None:
        """Let others have it; without effect where it is not held."""
        if self._lock.is_locked:
            with suppress(OSError):
                self.owner_path.unlink(missing_ok=True)
            self._lock.release()

    def _sign(self) -> None:
        """Write this process down as the owner."""
        earlier = read_owner(self.path)
        if earlier is not None and not earlier.is_here:
            log.warning(
                "%s was left by %s without a proper end. If that still runs, this disk's locks do "
                "not reach other machines: end one of the two.",
                self.what,
                earlier,
            )
        try:
            remove_unfinished(self.path.parent, self.owner_path.name)
            with write_whole(self.owner_path) as temporary:
                temporary.write_text(json.dumps(asdict(Owner.this_process())) + "\n")
        except BaseException:
            self._lock.release()
            raise


def owner_path(lock_path: Path) -> Path:
    """Return the file that names the owner of the lock at `lock_path`."""
    return lock_path.with_name(f"{lock_path.name}.owner")


def read_owner(lock_path: Path) -> Owner | None:
    """Return who says to hold the lock at `lock_path`; None where nobody does."""
    try:
        return Owner(**json.loads(owner_path(lock_path).read_text()))
    except (OSError, ValueError, TypeError):
        return None
