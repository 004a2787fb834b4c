"""What several processes want at once is made by one of them; the others wait and say so."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import protocols
from datasets.locks import OwnedLock
from datasets.protocols import Protocol, open_protocol
from datasets.published import PublishedImage, PublishedSet
from datasets.synthetic.storage import draw_once

FORK = multiprocessing.get_context("fork")
SECONDS = 0.3
"""How long the first process is at work."""


def work(lock_path: Path, made: Path, place: Path, told: Connection) -> None:
    """Hold the lock, and have `made` in its place just before the end."""
    with OwnedLock(lock_path, place):
        told.send(os.getpid())
        time.sleep(SECONDS)
        shutil.copytree(made, place, dirs_exist_ok=True)


@pytest.fixture
def start() -> Iterator[Callable[[Path, Path, Path], int]]:
    """Starts `work` in a process and returns its id once it holds the lock."""
    processes = []

    def start_process(lock_path: Path, made: Path, place: Path) -> int:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(target=work, args=(lock_path, made, place, theirs))
        process.start()
        processes.append(process)
        assert ours.poll(30)
        return ours.recv()

    yield start_process
    for process in processes:
        process.kill()
        process.join()


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("made although another process is at it")


def test_a_synthetic_set_that_is_being_drawn_is_waited_for(start, tmp_path: Path, caplog):
    def write(root: Path) -> None:
        root.mkdir()
        (root / "a.txt").write_text("drawn")

    made = draw_once(tmp_path / "other", "cells", {"seed": 0}, write)
    place = tmp_path / "cache" / made.name
    owner = start(place.with_name(f"{place.name}.lock"), made, place)
    assert draw_once(tmp_path / "cache", "cells", {"seed": 0}, refuse) == place
    assert f"Waiting: {place} is held by process {owner}" in caplog.text
    assert (place / "a.txt").read_text() == "drawn"


def test_splits_that_are_being_drawn_are_waited_for(start, tmp_path: Path, caplog, monkeypatch):
    generator = np.random.default_rng(0)
    images = []
    for index in range(20):
        path = tmp_path / "images" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
        images.append(PublishedImage(path.name, "ab"[index % 2], path))
    published = PublishedSet("toy", ("a", "b"), tuple(images), tmp_path / "images")
    protocol = Protocol(val_fraction=0.2, test_fraction=0.2, copies=None)
    expected = open_protocol(published, protocol, tmp_path / "other")
    (made,) = (tmp_path / "other/protocols").iterdir()
    place = tmp_path / "cache/protocols" / made.name
    owner = start(place / ".lock", made, place)
    monkeypatch.setattr(protocols, "hash_images", refuse)
    found = open_protocol(published, protocol, tmp_path / "cache")
    assert f"Waiting: {place} is held by process {owner}" in caplog.text
    assert [(s.sample_id, s.split) for s in found.samples] == [
        (s.sample_id, s.split) for s in expected.samples
    ]
