"""Unpacks archives from strangers: no path escape, no links, no devices, no bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final, Protocol, cast

from datasets.errors import DatasetError

MAX_RATIO: Final = 100
"""Images, HDF5 and masks shrink less than this; more is an archive made to fill the disk."""
MIN_LIMIT: Final = 1_000_000_000
"""Bytes that may always come out, whatever the ratio."""
MAX_ENTRIES: Final = 2_000_000
_BLOCK: Final = 1 << 20
_MAX_HEADER: Final = _BLOCK
_MAX_HEADERS: Final = 64 * _BLOCK
_HEADERS_OF_ENTRY: Final = 4096
"""Bytes of headers: one of them, and all together with so many more for each entry so far. Some are
kept to the end, and those before one entry at once."""
_IGNORED: Final = "__MACOSX"
_TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def unpack(archive: Path, out: Path) -> list[Path]:
    """Unpack a .zip, .tar(.gz, .bz2, .xz) or .gz file into `out`; return what is new there.

    Everything goes to a temporary folder first, so `out` gets all of it or nothing.

    Raises:
        DatasetError: The archive is broken or of another kind, an entry leads out of `out`, is a
            link, a device or encrypted, stands twice, as file and folder or is there already, or
            far more comes out, or stands in headers, than an image archive holds.
    """
    if not archive.stat().st_size:
        raise DatasetError(
            f"{archive} cannot be unpacked (it is empty). Delete it and download it again."
        )
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f".{archive.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    budget = _Budget(archive)
    try:
        name = archive.name.lower()
        if name.endswith(".zip"):
            _unpack_zip(archive, temporary, budget)
        elif name.endswith(_TAR_SUFFIXES):
            _unpack_tar(archive, temporary, budget)
        elif name.endswith(".gz"):
            with _clear_errors(archive), gzip.open(archive) as source:
                budget.copy(source, temporary / archive.stem)
        else:
            raise DatasetError(f"{archive}: neither .zip, .tar nor .gz. Unpack it yourself.")
        return _move_up(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Budget:
    """How much may still come out of an archive; counts what is written, not what is declared."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.bytes_left = max(MIN_LIMIT, MAX_RATIO * archive.stat().st_size)
        self.entries_left = MAX_ENTRIES

    def copy(self, source: _Readable, target: Path) -> None:
        """Write `source` to the new file `target`."""
        self.count_entry()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            above = next(path for path in target.parents if path.is_file())
            raise self._refuse_both(above.name) from error
        if target.is_dir():
            raise self._refuse_both(target.name)
        if target.exists():
            raise DatasetError(f"{self.archive}: {target.name} stands twice in it.")
        with target.open("xb") as file:
            while block := source.read(_BLOCK):
                self.bytes_left -= len(block)
                self._require_room()
                file.write(block)

    def count_entry(self) -> None:
        """Take note of an entry, whatever it is."""
        self.entries_left -= 1
        self._require_room()

    def _refuse_both(self, name: str) -> DatasetError:
        return DatasetError(f"{self.archive}: the entry {name} is both a file and a folder.")

    def _require_room(self) -> None:
        if self.bytes_left < 0 or self.entries_left < 0:
            raise DatasetError(
                f"{self.archive}: more comes out than any image archive of this size holds; it "
                "looks like an archive bomb. Nothing was kept."
            )


def _unpack_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with _clear_errors(archive), zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            target = _find_target(archive, entry.filename, folder)
            mode = entry.external_attr >> 16
            if target is None or entry.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise DatasetError(f"{archive}: {entry.filename} is a link or a device.")
            if entry.flag_bits & 1:
                raise DatasetError(f"{archive}: {entry.filename} is encrypted.")
            with file.open(entry) as source:
                budget.copy(source, target)


def _unpack_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    with (
        _clear_errors(archive),
        _open_plain(archive) as stream,
        tarfile.open(fileobj=(guarded := _Guarded(archive, stream, budget)), mode="r:") as file,  # type: ignore[call-overload]
    ):
        for entry in file:
            target = _find_target(archive, entry.name, folder)
            if target is None or entry.isdir():
                budget.count_entry()
                continue
            source = file.extractfile(entry) if entry.isreg() else None
            if source is None:
                raise DatasetError(f"{archive}: {entry.name} is a link or a device.")
            with source, guarded.reading_content():
                budget.copy(source, target)


def _open_plain(archive: Path) -> IO[bytes]:
    """Return what the archive holds, no longer compressed."""
    name = archive.name.lower()
    if name.endswith((".gz", ".tgz")):
        return cast("IO[bytes]", gzip.open(archive))
    if name.endswith(".bz2"):
        return cast("IO[bytes]", bz2.open(archive))
    if name.endswith(".xz"):
        return cast("IO[bytes]", lzma.open(archive))
    return archive.open("rb")


class _Guarded:
    """A tar file's bytes: no header may be large, nor all together, and no entry reach too far.

    Headers with long names are read at once, and what stands before an entry is unpacked even if
    it is not kept.
    """

    def __init__(self, archive: Path, stream: IO[bytes], budget: _Budget) -> None:
        self._archive = archive
        self._stream = stream
        self._budget = budget
        self._end = budget.bytes_left + MIN_LIMIT
        self._is_header = True
        self._header_bytes = 0

    @contextmanager
    def reading_content(self) -> Iterator[None]:
        """Tell that what is read in this block is no header."""
        self._is_header = False
        try:
            yield
        finally:
            self._is_header = True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        if not 0 <= size <= _MAX_HEADER:
            raise DatasetError(
                f"{self._archive}: a header of {size:,} bytes; it looks like an archive bomb. "
                "Nothing was kept."
            )
        if self._is_header:
            self._header_bytes += size
            entries = MAX_ENTRIES - self._budget.entries_left
            if self._header_bytes > _MAX_HEADERS + _HEADERS_OF_ENTRY * entries:
                raise DatasetError(
                    f"{self._archive}: {self._header_bytes:,} bytes of headers for {entries:,} "
                    "entries; it looks like an archive bomb. Nothing was kept."
                )
        return self._stream.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a position."""
        if position > self._end:
            raise DatasetError(
                f"{self._archive}: an entry reaches to byte {position:,}; it looks like an archive "
                "bomb. Nothing was kept."
            )
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()


def _find_target(archive: Path, name: str, folder: Path) -> Path | None:
    """Return where an entry goes; None for a Mac's shadow files."""
    relative = PurePosixPath(name)
    parts = relative.parts
    if relative.is_absolute() or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise DatasetError(f"{archive}: the entry {name!r} leads out of the folder.")
    if not parts or parts[0] == _IGNORED:
        return None
    return folder.joinpath(*parts)


@contextmanager
def _clear_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
        RuntimeError, NotImplementedError, ValueError,
    ) as error:  # fmt: skip
        # Only what the operating system refuses has a number: a full disk, a name too long.
        advice = "Delete it and download it again."
        if isinstance(error, OSError) and error.errno is not None:
            advice = "Mend that and unpack again."
        raise DatasetError(f"{archive} cannot be unpacked ({error}). {advice}") from error


def _move_up(temporary: Path, out: Path) -> list[Path]:
    inside = sorted(temporary.iterdir())
    for path in inside:
        if (out / path.name).exists():
            raise DatasetError(f"{out / path.name} is there already. Move it away first.")
    return [path.rename(out / path.name) for path in inside]
