"""Whether the files of a manifest are still those that it was written from."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.safe_json import read_json_object
from datasets.samples import Sample, hash_file

VERIFIED_NAME: Final = ".verified.json"
"""Beside the manifest: size, time and hash of each file when it was last hashed."""

_Record = Mapping[str, list[int | str]]

log = logging.getLogger(__name__)


def require_unchanged(folder: Path, samples: Iterable[Sample]) -> None:
    """Raise where an image or mask has other bytes than when the manifest was written.

    A file is hashed when it is first seen and again when its size or time of change differ from
    then, so that later openings cost no more than a look at each file. Delete `VERIFIED_NAME` to
    have all hashed again.

    Args:
        folder: Of the manifest.
        samples: With the hashes of the manifest.

    Raises:
        DatasetError: Naming changed files, or one that cannot be read.
    """
    expected = {
        path: digest
        for sample in samples
        for path, digest in (
            (sample.path, sample.sha256),
            (sample.mask_path, sample.mask_sha256),
        )
        if path is not None
    }
    earlier = _read_record(folder / VERIFIED_NAME)
    record: dict[str, list[int | str]] = {}
    changed: list[str] = []
    try:
        unknown = []
        for path, digest in expected.items():
            name = os.path.relpath(path, folder)
            record[name] = [*_stamp(path), digest]
            if earlier.get(name) != record[name]:
                unknown.append(path)
        for path in tqdm(unknown, "checking files", unit="file", leave=False, disable=None):
            found = hash_file(path)
            if found != expected[path]:
                changed.append(
                    f"{path} has the SHA-256 {found[:12]}, the manifest says {expected[path][:12]}"
                )
    except OSError as error:
        raise DatasetError(f"A file of {folder} cannot be read: {error}") from error
    if changed:
        more = f"\n  and {len(changed) - 5} more" if len(changed) > 5 else ""
        listed = "\n  ".join(changed[:5])
        raise DatasetError(
            f"{len(changed)} of {len(expected)} files changed since the manifest in {folder} was "
            f"written:\n  {listed}{more}\nPut the earlier files back, or prepare the set again "
            "with experiments/prepare_wbc.py."
        )
    if unknown:
        _write_record(folder / VERIFIED_NAME, record)


def require_content(sample: Sample) -> None:
    """Raise where the sample's image or mask has other bytes than its hash says.

    Raises:
        DatasetError: It changed since the set was opened.
        OSError: It cannot be read.
    """
    files = ((sample.path, sample.sha256), (sample.mask_path, sample.mask_sha256))
    for path, expected in files:
        if path is not None and (found := hash_file(path)) != expected:
            raise DatasetError(
                f"{path} changed since this set was opened: its SHA-256 is {found[:12]} and was "
                f"{expected[:12]}. Put the earlier file back, or prepare the set again, and start "
                "again; nothing was learnt or stored of what it holds now."
            )


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _read_record(path: Path) -> _Record:
    try:
        return read_json_object(path)
    except ValueError:
        return {}


def _write_record(path: Path, record: _Record) -> None:
    try:
        with write_whole(path) as temporary:
            temporary.write_text(json.dumps(record))
    except OSError as error:  # A set on a read-only disk is hashed each time.
        log.debug("%s is not kept: %s", path, error)
