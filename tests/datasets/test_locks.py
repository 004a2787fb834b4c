"""Locks: who holds one is said; what a dead process left is told from what a live one holds."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import socket
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from datasets.errors import DatasetError
from datasets.locks import LockedError, OwnedLock, owner_path, read_owner

FORK = multiprocessing.get_context("fork")


def hold(path: Path, told: Connection) -> None:
    """Take the lock and keep it until killed."""
    with OwnedLock(path, "store"):
        told.send(os.getpid())
        time.sleep(60)


def hold_and_die(path: Path, told: Connection) -> None:
    """Take the lock and die, while a child that inherited it lives for two seconds."""
    lock = OwnedLock(path, "store")
    lock.acquire()
    if os.fork() == 0:
        time.sleep(2)
        os._exit(0)
    told.send(os.getpid())
    os.kill(os.getpid(), 9)


@pytest.fixture
def start():
    """Starts a function in a process, waits for its word, ends it when the test is over."""
    processes = []

    def start_process(function, path: Path):
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(target=function, args=(path, theirs))
        process.start()
        processes.append(process)
        ours.recv()
        return process

    yield start_process
    for process in processes:
        process.kill()
        process.join()


def test_a_second_owner_is_told_the_pid_and_host_of_the_first(start, tmp_path):
    owner = start(hold, tmp_path / "lock")
    with pytest.raises(
        LockedError, match=rf"store is held by process {owner.pid} on {socket.gethostname()} \("
    ):
        OwnedLock(tmp_path / "lock", "store").acquire()


def test_one_that_waits_says_for_whom_and_takes_over_from_a_killed_owner(start, tmp_path, caplog):
    owner = start(hold, tmp_path / "lock")
    threading.Timer(0.3, owner.kill).start()
    with OwnedLock(tmp_path / "lock", "store", waits=True):
        assert f"Waiting: store is held by process {owner.pid}" in caplog.text
        assert read_owner(tmp_path / "lock").pid == os.getpid()
    assert read_owner(tmp_path / "lock") is None


def test_a_killed_owners_lock_is_taken_at_once(start, tmp_path, caplog):
    owner = start(hold, tmp_path / "lock")
    owner.kill()
    owner.join()
    assert read_owner(tmp_path / "lock").pid == owner.pid
    with OwnedLock(tmp_path / "lock", "store"):
        assert read_owner(tmp_path / "lock").pid == os.getpid()
    assert caplog.records == []


def test_a_child_that_outlives_its_killed_owner_does_not_keep_the_lock(start, tmp_path):
    owner = start(hold_and_die, tmp_path / "lock")
    owner.join()
    assert owner.exitcode == -9
    with OwnedLock(tmp_path / "lock", "store"):
        assert read_owner(tmp_path / "lock").pid == os.getpid()


def test_a_lock_that_an_owner_elsewhere_left_is_taken_with_a_warning(tmp_path, caplog):
    owner = {"pid": 1, "host": "node-7", "command": "python train.py"}
    owner_path(tmp_path / "lock").write_text(json.dumps(owner))
    with OwnedLock(tmp_path / "lock", "store"):
        assert "left by process 1 on node-7 (python train.py)" in caplog.text
        assert "locks do not reach other machines" in caplog.text


def test_a_broken_owner_file_does_no_harm(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    owner_path(tmp_path / "lock").write_text('{"pid": 1')
    with OwnedLock(tmp_path / "lock", "store"):
        assert read_owner(tmp_path / "lock").pid == os.getpid()
    assert caplog.records == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    lock = OwnedLock(tmp_path / "file" / "lock", "store")
    with pytest.raises(DatasetError, match=r"Cannot write to .*file.*--cache-root"), lock:
        pass
