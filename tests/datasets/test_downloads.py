"""Fetching from a server on this machine, and unpacking what strangers packed."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import re
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from datasets.catalogue import SOURCES
from datasets.downloads import fetch
from datasets.downloads import unpack as unpack_module
from datasets.downloads.addresses import FILES, STEPS
from datasets.downloads.fetch import fetch_file
from datasets.downloads.unpack import unpack
from datasets.errors import DatasetError

CONTENT = bytes(range(256)) * 4000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; the attributes say how it misbehaves."""

    content = CONTENT
    tag = '"v1"'
    breaks_after: int | None = None
    knows_ranges = True
    content_type = "application/octet-stream"
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        begin = 0
        same = self.headers.get("If-Range", server.tag) == server.tag
        if wanted and server.knows_ranges and same:
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))
            if begin >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}"
            )
        else:
            self.send_response(200)
        body = server.content[begin:]
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", str(len(body)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body if server.breaks_after is None else body[: server.breaks_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("checksum", [MD5, SHA256, None])
def test_file_is_fetched_and_nothing_else_is_left(server, tmp_path, checksum):
    path = fetch_file(server.url, tmp_path / "file.zip", checksum=checksum)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["file.zip"]
    assert fetch_file(server.url, path, checksum=checksum) == path
    assert len(server.requests) == 1, "what is there already is not fetched again"


def test_broken_connection_is_taken_up_where_it_stopped(server, tmp_path):
    server.breaks_after = 300_000
    assert fetch_file(server.url, tmp_path / "file.zip").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_next_call_goes_on_after_giving_up(server, tmp_path):
    server.breaks_after = 1000
    with pytest.raises(DatasetError, match=r"broke 5 times.*5,000 bytes are kept.*resumes"):
        fetch_file(server.url, tmp_path / "file.zip")
    server.breaks_after = None
    assert fetch_file(server.url, tmp_path / "file.zip").read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=5000-"


def test_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(server, tmp_path):
    server.breaks_after = 1000
    with pytest.raises(DatasetError, match="resumes"):
        fetch_file(server.url, tmp_path / "file.zip")
    server.breaks_after, server.content, server.tag = None, CONTENT[::-1], '"v2"'
    assert fetch_file(server.url, tmp_path / "file.zip").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(("tag", "checksum", "resumes"), [("", None, False), ("", MD5, True)])
def test_part_of_an_unnamed_version_is_only_kept_if_a_checksum_will_tell(
    server, tmp_path, tag, checksum, resumes
):
    server.tag = tag
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:500])
    fetch_file(server.url, tmp_path / "file.zip", checksum=checksum)
    assert server.requests == ["bytes=500-" if resumes else None]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_server_without_ranges_starts_again(server, tmp_path):
    server.knows_ranges = False
    (tmp_path / "file.zip.part").write_bytes(b"old")
    assert fetch_file(server.url, tmp_path / "file.zip", checksum=MD5).read_bytes() == CONTENT


def test_complete_part_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert fetch_file(server.url, tmp_path / "file.zip", checksum=MD5).read_bytes() == CONTENT


def test_part_that_is_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT + b"more")
    assert fetch_file(server.url, tmp_path / "file.zip", checksum=MD5).read_bytes() == CONTENT


def test_wrong_checksum_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(DatasetError, match=r"md5 is .*, published 00.*starts again"):
        fetch_file(server.url, tmp_path / "file.zip", checksum="md5:00")
    assert [p for p in tmp_path.iterdir() if p.suffix != ".tag"] == []
    (tmp_path / "file.zip").write_bytes(b"mine")
    with pytest.raises(DatasetError, match=r"Delete .*file\.zip"):
        fetch_file(server.url, tmp_path / "file.zip", checksum=MD5)
    assert (tmp_path / "file.zip").read_bytes() == b"mine"


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 5)])
def test_refusals_are_said_and_only_busy_servers_are_asked_again(
    server, tmp_path, status, requests
):
    server.status = status
    with pytest.raises(DatasetError, match=str(status)):
        fetch_file(server.url, tmp_path / "file.zip")
    assert len(server.requests) == requests


def test_web_page_instead_of_a_file_is_refused(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(DatasetError, match="a form or a login"):
        fetch_file(server.url, tmp_path / "file.zip")
    assert not (tmp_path / "file.zip").exists()


def test_full_disk_is_said_before_the_transfer(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DatasetError, match="1,024,000 bytes are still to come and 10 are free"):
        fetch_file(server.url, tmp_path / "file.zip")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "name"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(DatasetError, match="no http or https address"):
        fetch_file(url, tmp_path / "x")


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DatasetError, match="broke 5 times"):
        fetch_file("http://127.0.0.1:9/x", tmp_path / "x")


# Unpacking


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


# Addresses


def test_every_source_has_an_address_or_steps():
    assert set(SOURCES) == set(FILES) | set(STEPS)


def test_addresses_are_well_formed():
    for files in FILES.values():
        assert len({file.name for file in files}) == len(files)
        for file in files:
            assert file.url.startswith("https://")
            assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}", file.checksum)
            assert Path(file.name).name == file.name
