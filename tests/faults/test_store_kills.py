"""Feature stores whose writers are killed at random moments, again and again."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.feature_writing import write_store
from datasets.features import FeatureSpec, FeatureStore, unfinished_path

FORK = multiprocessing.get_context("fork")
SPEC = FeatureSpec("toy", "abc", "RGB 8x8", "32-true", (64,))
KEYS = [f"{index:064x}" for index in range(200)]
VALUES = np.random.default_rng(0).normal(size=(len(KEYS), *SPEC.shape))
BATCH_SIZE = 4
KILLS = 25
SEED = 0


def write(path: Path, seconds: float) -> None:
    """Write the store, each batch in `seconds`; note each in ``made``."""

    def encode(batches):
        for batch in batches:
            with (path.parent / "made").open("a") as file:
                file.write(f"{batch.start}\n")
            time.sleep(seconds)
            yield VALUES[batch.start : batch.stop]

    write_store(path, SPEC, KEYS, BATCH_SIZE, encode)


def test_writers_killed_at_any_moment_lose_at_most_the_batch_being_written(tmp_path: Path):
    whole, path = tmp_path / "whole" / "store.h5", tmp_path / "killed" / "store.h5"
    for folder in (whole.parent, path.parent):
        folder.mkdir()
    write(whole, 0)
    rng = random.Random(SEED)
    kills = 0
    while not path.exists():
        process = FORK.Process(target=write, args=(path, 0.006))
        process.start()
        if kills < KILLS:
            time.sleep(rng.uniform(0, 0.03))
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode in (0, -9)
        if path.exists():
            store = FeatureStore(path, SPEC.key(KEYS))
            served = np.stack([store.read(key).numpy() for key in KEYS])
            assert np.array_equal(served, VALUES.astype(np.float16))
    assert kills == KILLS, "the writer was done before it was killed often enough"
    assert path.read_bytes() == whole.read_bytes()
    made = (path.parent / "made").read_text().split()
    assert len(made) <= len(KEYS) / BATCH_SIZE + kills
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["made", "store.h5"]


def test_stores_cut_short_between_two_kills_are_never_taken_for_whole(tmp_path: Path):
    path = tmp_path / "store.h5"
    write(path, 0)
    whole = path.read_bytes()
    rng = random.Random(SEED)
    for _ in range(20):
        path.write_bytes(whole[: rng.randrange(len(whole))])
        with pytest.raises(DatasetError, match="no whole feature store"):
            FeatureStore(path, SPEC.key(KEYS))
        path.replace(unfinished_path(path))
        write(path, 0)
        assert path.read_bytes() == whole
