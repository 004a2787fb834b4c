"""Files that changed since their manifest was written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from datasets import verification
from datasets.cells import read_prepared
from datasets.errors import DatasetError
from datasets.manifest import write_manifest
from datasets.samples import Sample, hash_file
from datasets.verification import VERIFIED_NAME, require_unchanged


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A prepared set of three images, one with a mask."""
    samples = []
    for index in range(3):
        path, mask = tmp_path / f"{index}.png", tmp_path / f"mask_{index}.png"
        Image.new("RGB", (8, 8), (index, 0, 0)).save(path)
        Image.new("L", (8, 8), index).save(mask)
        samples.append(
            Sample(
                str(index), path, "basophil", "train", str(index), hash_file(path),
                mask_path=mask if index == 2 else None,
                mask_sha256=hash_file(mask) if index == 2 else "",
            )
        )  # fmt: skip
    write_manifest(tmp_path, samples, tmp_path, {"name": "set"})
    return tmp_path


@pytest.mark.parametrize("name", ["1.png", "mask_2.png"])
def test_a_changed_image_or_mask_is_named_with_both_hashes(prepared: Path, name: str):
    read_prepared(prepared)
    expected = hash_file(prepared / name)[:12]
    Image.new("RGB", (8, 8), (9, 9, 9)).save(prepared / name)
    found = hash_file(prepared / name)[:12]
    with pytest.raises(
        DatasetError, match=f"1 of 4 files changed.*\n.*{name} has the SHA-256 {found}.*{expected}"
    ):
        read_prepared(prepared)


def test_files_are_hashed_once_and_again_when_their_time_changes(prepared: Path, monkeypatch):
    hashed: list[str] = []

    def count(path: Path) -> str:
        hashed.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(verification, "hash_file", count)
    read_prepared(prepared)
    assert sorted(hashed) == ["0.png", "1.png", "2.png", "mask_2.png"]
    read_prepared(prepared)
    assert len(hashed) == 4
    os.utime(prepared / "1.png", ns=(1, 1))
    read_prepared(prepared)
    assert hashed[4:] == ["1.png"]


def test_a_changed_file_stays_refused(prepared: Path):
    Image.new("RGB", (8, 8), (9, 9, 9)).save(prepared / "0.png")
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"changed since the manifest"):
            read_prepared(prepared)


def test_a_broken_record_has_all_files_hashed_again(prepared: Path):
    (prepared / VERIFIED_NAME).write_text("{")
    read_prepared(prepared)
    assert (prepared / VERIFIED_NAME).read_text().endswith("]}")


def sample_of(path: Path, sha256: str) -> Sample:
    return Sample("a", path, "a", "train", "a", sha256)


@pytest.fixture
def verified(tmp_path: Path) -> Sample:
    """A sample whose file was hashed and written down."""
    path = tmp_path / "a.png"
    path.write_bytes(b"earlier")
    sample = sample_of(path, hash_file(path))
    require_unchanged(tmp_path, [sample])
    assert (tmp_path / VERIFIED_NAME).is_file()
    return sample


def test_a_manifest_with_another_hash_is_not_believed_for_the_files_sake(verified: Sample):
    other = sample_of(verified.path, "0" * 64)
    with pytest.raises(DatasetError, match="the manifest says 000000000000"):
        require_unchanged(verified.path.parent, [other])


@pytest.mark.parametrize(
    ("content", "nanoseconds"), [(b"of another length", 0), (b"another", 1)], ids=["size", "time"]
)
def test_a_file_of_another_size_or_time_is_hashed_again(
    verified: Sample, content: bytes, nanoseconds: int
):
    """The least change of each: the same time, or the next nanosecond of the same second."""
    before = verified.path.stat()
    verified.path.write_bytes(content)
    os.utime(verified.path, ns=(before.st_atime_ns, before.st_mtime_ns + nanoseconds))
    after = verified.path.stat()
    assert after.st_mtime_ns - before.st_mtime_ns == nanoseconds
    assert (after.st_size == before.st_size) == bool(nanoseconds)
    with pytest.raises(DatasetError, match="1 of 1 files changed"):
        require_unchanged(verified.path.parent, [verified])


def test_a_set_on_a_disk_that_one_may_only_read_is_opened(prepared: Path, monkeypatch):
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(verification, "write_whole", refuse)
    assert len(read_prepared(prepared).samples) == 3
    assert not (prepared / VERIFIED_NAME).exists()
