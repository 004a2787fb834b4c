"""Writes feature stores so that a kill at any moment costs at most the batch being written.

HDF5 lays out the whole file first, under a hidden name, and is done with it. Features are then
written into their places by plain writes, each row before its checksum; a row without a matching
checksum is not there. When none is missing the file is renamed, so a store appears whole.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from datasets.errors import DatasetError
from datasets.features import FeatureSpec, checksum, read_index, unfinished_path
from datasets.files import remove_unfinished, sync_and_rename, write_whole
from datasets.safe_hdf5 import is_transient, to_text, to_texts

_FREE_SPACE_MARGIN: Final = 1.05
_NOT_WRITTEN: Final = -1

Encode = Callable[[Sequence[range]], Iterable[NDArray[np.floating]]]
"""Given the rows of some batches, gives the features (B, *spec.shape) of each."""

log = logging.getLogger(__name__)


def write_store(
    path: Path,
    spec: FeatureSpec,
    content_keys: Sequence[str],
    batch_size: int,
    encode: Encode,
    names: Sequence[str] = (),
) -> None:
    """Write a store, or go on with one that was stopped or found damaged.

    Batches are the same whether it was stopped or not, and so are the features bit by bit. The
    caller holds the lock of `path`.

    Args:
        path: Where it will lie.
        spec: What the features depend on.
        content_keys: One a row, all different.
        batch_size: Rows a batch.
        encode: Makes the features of the batches that are missing.
        names: What messages call the rows, e.g. sample ids; by default their content keys.

    Raises:
        DatasetError: The disk has no room, or a batch has non-finite features.
        OSError: The disk is full or cannot be written; what is written is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_path(path)
    remove_unfinished(path.parent, unfinished.name)
    missing = find_missing(unfinished, spec, content_keys, batch_size)
    num_missing = sum(map(len, missing))
    _require_free_space(path.parent, spec.num_bytes(num_missing))
    if not unfinished.is_file():
        _lay_out(unfinished, spec, content_keys)
    kept = len(content_keys) - num_missing
    log.info(
        "Extracting %s features of %d images or views: %.1f MB%s.",
        spec.encoder,
        num_missing,
        spec.num_bytes(num_missing) / 1e6,
        f"; {kept} are there already" if kept else "",
    )
    try:
        _fill(unfinished, spec, content_keys, missing, encode, names or content_keys)
        sync_and_rename(unfinished, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                "No space left on the disk; free some and run the same command again, with "
                "--resume for a training. The features so far are kept",
                str(unfinished),
            ) from error
        raise


def find_missing(
    unfinished: Path, spec: FeatureSpec, content_keys: Sequence[str], batch_size: int
) -> list[range]:
    """Return the batches with a row that is not there; a broken file is thrown away.

    Every row that is there is read and compared with its checksum.

    Raises:
        OSError: The disk or the system failed; the file is left as it is.
    """
    total = len(content_keys)
    batches = [range(row, min(row + batch_size, total)) for row in range(0, total, batch_size)]
    if not unfinished.is_file():
        return batches
    try:
        with h5py.File(unfinished) as file:
            found, names, checksums = read_index(file)
            if (found, names) != (spec, list(content_keys)):
                raise ValueError("it is of other images")
            features = file["features"]
            return [
                batch
                for batch in batches
                if any(
                    checksums[row] == _NOT_WRITTEN
                    or checksum(names[row], features[row]) != checksums[row]
                    for row in batch
                )
            ]
    except Exception as error:  # whatever a broken file makes h5py raise
        if is_transient(error):
            raise
        log.warning("%s is thrown away: %s.", unfinished, error)
        unfinished.unlink()
        return batches


def _lay_out(path: Path, spec: FeatureSpec, content_keys: Sequence[str]) -> None:
    """Write a store in which no row is written yet."""
    # Since 1.10 HDF5's own structures have checksums, too.
    with write_whole(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        file.attrs["key"] = to_text(spec.key(content_keys))
        file.attrs["spec"] = to_text(spec.to_json())
        file["content_keys"] = to_texts(content_keys)
        file["checksums"] = np.full(len(content_keys), _NOT_WRITTEN, dtype=np.int64)
        # h5py's own create_dataset gives features their place only when the first is written.
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        layout.set_obj_track_times(False)  # The same features are the same bytes.
        kind = h5py.h5t.py_create(np.dtype(spec.dtype))
        shape = h5py.h5s.create_simple((len(content_keys), *spec.shape))
        h5py.h5d.create(file.id, b"features", kind, shape, layout)


def _fill(
    path: Path,
    spec: FeatureSpec,
    content_keys: Sequence[str],
    missing: Sequence[range],
    encode: Encode,
    names: Sequence[str],
) -> None:
    with h5py.File(path) as file:
        start, checksums_start = (file[name].id.get_offset() for name in ("features", "checksums"))
    with path.open("rb+") as file:
        for batch, features in zip(missing, encode(missing) if missing else (), strict=True):
            values = _convert(features, spec, [names[row] for row in batch])
            file.seek(start + spec.num_bytes(batch.start))
            file.write(values.tobytes())
            file.flush()  # The system has the features before it has their checksums.
            sums = [
                checksum(content_keys[row], value) for row, value in zip(batch, values, strict=True)
            ]
            file.seek(checksums_start + batch.start * np.dtype(np.int64).itemsize)
            file.write(np.array(sums, dtype=np.int64).tobytes())
            file.flush()


def _convert(
    features: NDArray[np.floating], spec: FeatureSpec, names: Sequence[str]
) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):  # What overflows is refused in the next line.
        values: NDArray[np.floating] = np.ascontiguousarray(features.astype(spec.dtype))
    wrong = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if wrong.any():
        images = ", ".join(names[int(place)] for place in np.flatnonzero(wrong))
        raise DatasetError(
            f"Encoder {spec.encoder} gives non-finite features in {spec.dtype} for {images}. Look "
            "at these images; "
            "if it is all of them, the encoder's run went wrong: train it again."
        )
    return values


def _require_free_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes * _FREE_SPACE_MARGIN:
        raise DatasetError(
            f"The feature store needs {num_bytes / 1e9:.2f} GB and {folder} has "
            f"{free / 1e9:.2f} GB free. Free some or pass a --cache-root on another disk."
        )
