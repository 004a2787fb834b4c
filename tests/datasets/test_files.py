"""Files that appear whole: what is on the disk at which moment, and under which name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from datasets.files import write_whole


def test_content_then_name_are_brought_to_the_disk_before_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, synced = tmp_path / "a.txt", []
    sync = os.fsync

    def record(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append(("folder" if stat.S_ISDIR(status.st_mode) else "file", path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with write_whole(path) as temporary:
        temporary.write_text("whole")
    assert synced == [("file", False), ("folder", True)]


def test_two_processes_that_write_one_file_do_not_share_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.txt"
    with write_whole(path) as ours:
        ours.write_text("ours")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            with write_whole(path) as theirs:
                theirs.write_text("theirs")
        assert path.read_text() == "theirs"
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("earlier")

    def fail() -> None:
        with write_whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]
