"""Fetches a file over HTTP: resumes, checks size and checksum, appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import shutil
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tqdm import tqdm

from datasets.errors import DatasetError

ATTEMPTS: Final = 5
"""How often a broken connection is taken up again before the user is asked to."""
_BLOCK: Final = 1 << 20
_TIMEOUT: Final = 60.0
_ALGORITHMS: Final = ("md5", "sha256")

log = logging.getLogger(__name__)


class _BrokenTransferError(Exception):
    """The connection ended early; what came is kept."""


def fetch_file(url: str, path: Path, *, checksum: str | None = None) -> Path:
    """Return `path` once it holds the file at `url`.

    What comes in goes to ``<name>.part``; a later call goes on from there if the server says that
    the file is the same (its ETag or date) or a checksum will tell.

    Args:
        url: http or https.
        path: Where the file will lie. If it is there already, it is checked and kept.
        checksum: ``md5:`` or ``sha256:`` and hex digits; None if none is published.

    Raises:
        DatasetError: The address, the answer or the checksum is wrong, or the connection broke
            too often; the message says whether the same command resumes.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DatasetError(f"{url} is no http or https address.")
    if path.exists():
        if checksum is not None:
            verify_checksum(path, checksum, advice=f"Delete {path} to download it again.")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _transfer(url, part, can_verify=checksum is not None)
            break
        except _BrokenTransferError as error:
            if attempt == ATTEMPTS:
                raise DatasetError(
                    f"{url}: the connection broke {ATTEMPTS} times ({error}). "
                    f"{_size_of(part):,} bytes are kept in {part}; the same command resumes."
                ) from error
            log.info("%s: %s; going on from byte %d.", url, error, _size_of(part))
    if checksum is not None:
        try:
            verify_checksum(part, checksum, advice="It was deleted; the same command starts again.")
        except DatasetError:
            part.unlink()
            raise
    part.replace(path)
    _validator_path(part).unlink(missing_ok=True)
    return path


def verify_checksum(path: Path, checksum: str, *, advice: str) -> None:
    """Raise unless the file has this checksum.

    Raises:
        DatasetError: It has not, or `checksum` is of an unknown kind.
    """
    algorithm, _, expected = checksum.partition(":")
    if algorithm not in _ALGORITHMS or not expected:
        raise DatasetError(f"Checksum {checksum!r} must begin with {' or '.join(_ALGORITHMS)}:.")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected.lower():
        raise DatasetError(
            f"{path}: {algorithm} is {digest.hexdigest()}, published {expected}. {advice}"
        )


def _transfer(url: str, part: Path, *, can_verify: bool) -> None:
    """Bring `part` to its end, from where it stands if that is safe."""
    start = _size_of(part)
    validator = _read_validator(part)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if start and (validator or can_verify):
        request.add_header("Range", f"bytes={start}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            _receive(answer, url, part, start)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range", "") == f"bytes */{start}":
                return  # Everything had come before the last stop.
            part.unlink(missing_ok=True)
            raise _BrokenTransferError("the file on the server is another one now") from error
        if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _BrokenTransferError(f"HTTP {error.code}") from error
        raise DatasetError(
            f"{url}: the server answers {error.code} {error.reason}. The address may have changed; "
            "see the set's landing page (README, Data)."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DatasetError(
                f"{part}: no space left on the disk. Free some; the same command resumes."
            ) from error
        raise _BrokenTransferError(str(error) or type(error).__name__) from error


def _receive(answer: http.client.HTTPResponse, url: str, part: Path, start: int) -> None:
    headers = answer.headers
    if headers.get("Content-Type", "").startswith("text/html"):
        raise DatasetError(
            f"{url} answers with a web page, not a file: it may want a form or a login. See the "
            "set's landing page (README, Data)."
        )
    resumes = answer.status == http.HTTPStatus.PARTIAL_CONTENT
    if resumes and not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        part.unlink(missing_ok=True)
        raise _BrokenTransferError("the server sent another range than was asked for")
    begin = start if resumes else 0
    length = headers.get("Content-Length", "")
    total = begin + int(length) if length.isdigit() else None
    _require_room(part, total, begin)
    _write_validator(part, headers)
    written = begin
    with (
        part.open("ab" if resumes else "wb") as file,
        tqdm(
            total=total, initial=begin, unit="B", unit_scale=True, desc=part.stem, disable=None
        ) as bar,
    ):
        while block := answer.read(_BLOCK):
            file.write(block)
            written += len(block)
            bar.update(len(block))
    if total is not None and written != total:
        raise _BrokenTransferError(f"{written:,} of {total:,} bytes came")


def _require_room(part: Path, total: int | None, begin: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - begin > free:
        raise DatasetError(
            f"{part}: {total - begin:,} bytes are still to come and {free:,} are free. Free some, "
            "or pass an --out on another disk."
        )


def _size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _validator_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _read_validator(part: Path) -> str:
    path = _validator_path(part)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _write_validator(part: Path, headers: Message) -> None:
    """Keep what names this very version of the file; weak ETags do not."""
    tag = headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    _validator_path(part).write_text(validator, encoding="utf-8")
