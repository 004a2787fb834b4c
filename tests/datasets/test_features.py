"""The feature store: right, whole, never stale."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import features as features_module
from datasets.errors import DatasetError
from datasets.features import FeatureSpec, FeatureStore, write_store

SPEC = FeatureSpec("toy", "abc", "RGB 8x8", "32-true", (3, 4))
KEYS = ["one", "two", "three"]
VALUES = np.arange(36, dtype=np.float32).reshape(3, 3, 4)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    path = tmp_path / "store.h5"
    write_store(path, SPEC, KEYS, [VALUES[:2], VALUES[2:]])
    return path


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


def test_failed_extraction_leaves_nothing_behind(tmp_path: Path):
    def broken():
        yield VALUES[:1]
        raise OSError("image gone")

    with pytest.raises(OSError, match="image gone"):
        write_store(tmp_path / "store.h5", SPEC, KEYS, broken())
    assert list(tmp_path.iterdir()) == []


def test_non_finite_features_are_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="non-finite features"):
        write_store(tmp_path / "store.h5", SPEC, KEYS, [VALUES * np.float32(1e6)])


def test_too_little_space_is_said_before_extraction(tmp_path: Path, monkeypatch):
    usage = features_module.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(features_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match="--cache-root"):
        write_store(tmp_path / "store.h5", SPEC, KEYS, [])


def test_store_travels_to_worker_processes(store_path: Path):
    store = FeatureStore(store_path, SPEC.key(KEYS))
    store.read("one")
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.read("three"), store.read("three"))
