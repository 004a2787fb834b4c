"""Unpacking what strangers packed: no way out, no links, no bombs, nothing half."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from datasets.downloads import unpack as unpack_module
from datasets.downloads.unpack import unpack
from datasets.errors import DatasetError


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def write_tar(path: Path, *entries: tarfile.TarInfo, content: bytes = b"1234") -> Path:
    with tarfile.open(path, "w:gz") as file:
        for entry in entries:
            entry.size = len(content) if entry.isreg() else 0
            file.addfile(entry, io.BytesIO(content))
    return path


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def test_zip_tar_and_gz_are_unpacked(tmp_path):
    write_zip(tmp_path / "a.zip", {"set/x/1.jpg": b"one", "set/2.jpg": b"two", "__MACOSX/j": b""})
    assert unpack(tmp_path / "a.zip", tmp_path / "zip") == [tmp_path / "zip" / "set"]
    assert (tmp_path / "zip/set/x/1.jpg").read_bytes() == b"one"
    write_tar(tmp_path / "b.tar.gz", tar_entry("./set", tarfile.DIRTYPE), tar_entry("./set/1.jpg"))
    unpack(tmp_path / "b.tar.gz", tmp_path / "tar")
    assert (tmp_path / "tar/set/1.jpg").read_bytes() == b"1234"
    (tmp_path / "x.h5.gz").write_bytes(gzip.compress(b"array"))
    assert unpack(tmp_path / "x.h5.gz", tmp_path) == [tmp_path / "x.h5"]
    assert (tmp_path / "x.h5").read_bytes() == b"array"


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/x", "a/../../b", "..\\b", "C:/x", "a/b:stream"]
)
def test_entries_that_lead_out_are_refused(tmp_path, name):
    write_zip(tmp_path / "a.zip", {"fine.txt": b"", name: b"evil"})
    write_tar(tmp_path / "a.tar.gz", tar_entry("fine.txt"), tar_entry(name))
    for archive in ("a.zip", "a.tar.gz"):
        with pytest.raises(DatasetError, match="leads out of the folder"):
            unpack(tmp_path / archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    write_tar(tmp_path / "a.tar.gz", tar_entry("x", kind, "/etc/passwd"))
    with pytest.raises(DatasetError, match="a link or a device"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
)
def test_links_devices_and_pipes_in_a_zip_are_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("x")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(DatasetError, match="x is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c")])
def test_entry_that_is_both_a_file_and_a_folder_is_named(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in names:
            file.writestr(name, b"x")
    with pytest.raises(DatasetError, match=r"a\.zip: the entry a is both a file and a folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_headers_that_are_large_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_module, "_MAX_HEADERS", 20_000)
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz", format=tarfile.PAX_FORMAT) as file:
        for index in range(30):
            header = {f"comment{index}": "x" * 900}
            file.fileobj.write(tarfile.TarInfo.create_pax_global_header(header))
        file.addfile(tar_entry("x"), io.BytesIO(b"1234"))
    with pytest.raises(DatasetError, match=r"bytes of headers for 0 entries.*archive bomb"):
        unpack(tmp_path / "a.tar.xz", tmp_path / "out")


def test_long_names_and_much_content_are_no_large_headers(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_module, "_MAX_HEADERS", 4096)
    names = [f"{index}{'x' * 200}" for index in range(20)]
    write_tar(tmp_path / "a.tar.gz", *map(tar_entry, names), content=bytes(50_000))
    assert len(unpack(tmp_path / "a.tar.gz", tmp_path / "out")) == 20


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "gz"])
def test_archive_bomb_is_stopped(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(unpack_module, "MIN_LIMIT", 1_000_000)
    archive, zeros = tmp_path / f"a.{kind}", bytes(30_000_000)
    if kind == "zip":
        write_zip(archive, {"x": zeros})
    elif kind == "gz":
        archive.write_bytes(gzip.compress(zeros))
    else:
        write_tar(archive, tar_entry("x"), content=zeros)
    with pytest.raises(DatasetError, match="archive bomb"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_too_many_entries_are_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_module, "MAX_ENTRIES", 3)
    write_zip(tmp_path / "a.zip", {str(index): b"x" for index in range(5)})
    with pytest.raises(DatasetError, match="archive bomb"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_folders_count_as_entries_too(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_module, "MAX_ENTRIES", 3)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        for index in range(5):
            entry = tarfile.TarInfo(f"folder-{index}")
            entry.type = tarfile.DIRTYPE
            file.addfile(entry)
    with pytest.raises(DatasetError, match="archive bomb"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "gz"])
@pytest.mark.parametrize("keep", [0, 40, 900])
def test_truncated_archives_are_refused(tmp_path, kind, keep):
    archive, content = tmp_path / f"a.{kind}", hashlib.shake_128(b"x").digest(20_000)
    if kind == "zip":
        write_zip(archive, {"x": content})
    elif kind == "gz":
        archive.write_bytes(gzip.compress(content))
    else:
        write_tar(archive, tar_entry("x"), content=content)
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_damaged_zip_entry_fails_its_checksum(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x", b"A" * 5000)
    archive.write_bytes(archive.read_bytes().replace(b"AAAA", b"AABA", 1))
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


def test_what_is_there_already_is_not_overwritten(tmp_path):
    write_zip(tmp_path / "a.zip", {"set/1.jpg": b"new"})
    (tmp_path / "out" / "set").mkdir(parents=True)
    with pytest.raises(DatasetError, match="is there already"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert list((tmp_path / "out" / "set").iterdir()) == []


def test_unknown_kind_of_archive_is_refused(tmp_path):
    (tmp_path / "Train.rar").write_bytes(b"Rar!")
    with pytest.raises(DatasetError, match="Unpack it yourself"):
        unpack(tmp_path / "Train.rar", tmp_path / "out")
