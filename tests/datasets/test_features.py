"""The feature store: right, whole, never stale."""

from __future__ import annotations

import os
import pickle
import stat
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from datasets import feature_writing, features
from datasets.errors import DatasetError
from datasets.feature_writing import write_store
from datasets.features import FeatureSpec, FeatureStore, unfinished_path

SPEC = FeatureSpec("toy", "abc", "RGB 8x8", "32-true", (3, 4))
KEYS = ["one", "two", "three"]
VALUES = np.arange(36, dtype=np.float32).reshape(3, 3, 4)
BATCH_SIZE = 2


class Encoder:
    """Gives `VALUES`, and keeps the rows that it was asked for."""

    def __init__(self, values: np.ndarray = VALUES, stops_at: int | None = None) -> None:
        self.values = values
        self.stops_at = stops_at
        self.rows: list[int] = []

    def __call__(self, batches):
        for batch in batches:
            if self.stops_at in batch:
                raise OSError("image gone")
            self.rows += batch
            yield self.values[batch.start : batch.stop]


def write(path: Path, encoder: Encoder) -> Path:
    write_store(path, SPEC, KEYS, BATCH_SIZE, encoder)
    return path


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write(tmp_path / "store.h5", Encoder())


def test_features_come_back_by_content(store_path: Path):
    store = FeatureStore(store_path, SPEC.key(KEYS))
    assert len(store) == 3
    assert store.read("two").dtype == torch.float16
    assert np.array_equal(store.read("two").numpy(), VALUES[1])


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_sha256": "abd"},
        {"transform": "RGB 9x9"},
        {"precision": "bf16-mixed"},
        {"dtype": "float32"},
    ],
)
def test_key_changes_with_everything_that_features_depend_on(change: dict):
    assert replace(SPEC, **change).key(KEYS) != SPEC.key(KEYS)


def test_key_changes_with_the_format_of_the_file(monkeypatch):
    earlier = SPEC.key(KEYS)
    monkeypatch.setattr(features, "_FORMAT_VERSION", features._FORMAT_VERSION + 1)
    assert SPEC.key(KEYS) != earlier


def test_key_changes_with_the_images_but_not_with_their_order():
    assert SPEC.key(KEYS) != SPEC.key([*KEYS, "four"])
    assert SPEC.key(KEYS) == SPEC.key(KEYS[::-1])


def test_stale_store_is_refused(store_path: Path):
    retrained = replace(SPEC, encoder_sha256="abd")
    with pytest.raises(DatasetError, match="is stale"):
        FeatureStore(store_path, retrained.key(KEYS))


def test_unknown_image_is_refused(store_path: Path):
    with pytest.raises(DatasetError, match="holds no features"):
        FeatureStore(store_path, SPEC.key(KEYS)).read("four")


def test_truncated_store_is_refused(store_path: Path):
    content = store_path.read_bytes()
    store_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="no whole feature store"):
        FeatureStore(store_path, SPEC.key(KEYS))


def test_flipped_bit_in_a_chunk_is_found_by_its_checksum(store_path: Path):
    content = bytearray(store_path.read_bytes())
    position = content.find(VALUES[1].astype(np.float16).tobytes())
    assert position > 0
    content[position + 5] ^= 1
    store_path.write_bytes(content)
    store = FeatureStore(store_path, SPEC.key(KEYS))
    assert np.array_equal(store.read("one").numpy(), VALUES[0])
    with pytest.raises(DatasetError, match="is damaged"):
        store.read("two")


def test_a_stopped_extraction_leaves_no_store_and_goes_on_with_the_same_bytes(
    store_path: Path, tmp_path: Path
):
    path = tmp_path / "stopped" / "store.h5"
    with pytest.raises(OSError, match="image gone"):
        write(path, Encoder(stops_at=2))
    assert not path.exists()
    encoder = Encoder()
    write(path, encoder)
    assert encoder.rows == [2]
    assert path.read_bytes() == store_path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["store.h5"]


def test_a_row_without_its_checksum_is_not_there(tmp_path: Path):
    path = tmp_path / "store.h5"
    with pytest.raises(OSError, match="image gone"):
        write(path, Encoder(stops_at=2))
    unfinished = unfinished_path(path)
    content = bytearray(unfinished.read_bytes())
    content[content.find(VALUES[1].astype(np.float16).tobytes()) + 3] ^= 4
    unfinished.write_bytes(content)
    encoder = Encoder()
    write(path, encoder)
    assert encoder.rows == [0, 1, 2]
    assert np.array_equal(FeatureStore(path, SPEC.key(KEYS)).read("two").numpy(), VALUES[1])


def test_a_broken_unfinished_store_is_thrown_away(tmp_path: Path, caplog):
    unfinished_path(tmp_path / "store.h5").write_bytes(b"no HDF5")
    encoder = Encoder()
    write(tmp_path / "store.h5", encoder)
    assert encoder.rows == [0, 1, 2]
    assert "thrown away" in caplog.text


def test_a_damaged_store_is_put_aside_and_only_its_damaged_batch_is_made_again(store_path: Path):
    whole = store_path.read_bytes()
    content = bytearray(whole)
    content[content.find(VALUES[2].astype(np.float16).tobytes()) + 3] ^= 4
    store_path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"is damaged.*--resume"):
        FeatureStore(store_path, SPEC.key(KEYS)).read("three")
    assert not store_path.exists()
    encoder = Encoder()
    write(store_path, encoder)
    assert encoder.rows == [2]
    assert store_path.read_bytes() == whole


def test_wherever_a_store_is_cut_or_a_bit_flips_no_wrong_features_are_served(store_path: Path):
    whole = store_path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(200):
        content = bytearray(whole)
        if number % 4:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        else:
            content = content[: rng.integers(len(content))]
        store_path.write_bytes(content)
        try:
            store = FeatureStore(store_path, SPEC.key(KEYS))
            served = [store.read(key).numpy() for key in KEYS]
        except DatasetError:
            refused += 1
        else:
            assert np.array_equal(served, VALUES), number
    assert refused > 50


def test_a_store_is_brought_to_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch):
    path, synced = tmp_path / "store.h5", []
    sync = os.fsync

    def record(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write(path, Encoder())
    laid_out = [(False, False), (True, False)]
    assert synced == [*laid_out, (False, False), (True, True)], "file, folder; file, folder"


def test_the_system_has_the_rows_of_a_batch_before_their_checksums(tmp_path: Path, monkeypatch):
    steps: list[str] = []
    batches = [values.astype(np.float16).tobytes() for values in (VALUES[:2], VALUES[2:])]
    open_file = Path.open

    class Recorder:
        """A file that notes what is written to it."""

        def __init__(self, file) -> None:
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str):
            return getattr(self.file, name)

        def write(self, content: bytes) -> None:
            steps.append("rows" if content in batches else "checksums")
            self.file.write(content)

        def flush(self) -> None:
            steps.append("flush")
            self.file.flush()

    def open_recorded(self, mode: str = "r", *args, **options):
        file = open_file(self, mode, *args, **options)
        return Recorder(file) if self == unfinished_path(path) else file

    path = tmp_path / "store.h5"
    monkeypatch.setattr(Path, "open", open_recorded)
    write(path, Encoder())
    assert steps == ["rows", "flush", "checksums", "flush"] * 2


def test_non_finite_features_are_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="non-finite features"):
        write(tmp_path / "store.h5", Encoder(VALUES * np.float32(1e6)))


def test_too_little_space_is_said_before_extraction(tmp_path: Path, monkeypatch):
    usage = feature_writing.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(feature_writing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match="--cache-root"):
        write(tmp_path / "store.h5", Encoder())


def test_store_travels_to_worker_processes(store_path: Path):
    store = FeatureStore(store_path, SPEC.key(KEYS))
    store.read("one")
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.read("three"), store.read("three"))


def test_forked_worker_processes_read_what_this_one_reads(tmp_path: Path):
    names = [str(index) for index in range(300)]
    values = (np.arange(3600, dtype=np.float32) % 2039).reshape(300, 3, 4)
    write_store(tmp_path / "store.h5", SPEC, names, 2, Encoder(values))
    store = FeatureStore(tmp_path / "store.h5", SPEC.key(names))
    store.read("0")  # So that they inherit an open file.
    loader = DataLoader(names, batch_size=None, num_workers=2, collate_fn=store.read)
    for expected, found in zip(values, loader, strict=True):
        assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
def test_a_system_in_trouble_costs_no_store(store_path: Path, monkeypatch, error):
    store = FeatureStore(store_path, SPEC.key(KEYS))

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(h5py, "File", fail)
    with pytest.raises(type(error)):
        store.read("one")
    with pytest.raises(type(error)):
        FeatureStore(store_path, SPEC.key(KEYS))
    assert store_path.is_file()
    store_path.replace(unfinished_path(store_path))
    with pytest.raises(type(error)):
        feature_writing.find_missing(unfinished_path(store_path), SPEC, KEYS, 2)
    assert unfinished_path(store_path).is_file()
