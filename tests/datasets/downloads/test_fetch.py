"""Fetching from a server on this machine, which breaks off, changes its file and refuses."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading

import pytest

from datasets.downloads import fetch
from datasets.downloads.fetch import fetch_file
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
