"""The file of a slide's tiles."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.wsi import store
from datasets.wsi.store import (
    SlideFacts,
    TilePixels,
    TileTable,
    open_tiles,
    read_table,
    write_tiles,
)

SIZE = 64


@pytest.fixture
def facts() -> SlideFacts:
    return SlideFacts(
        slide_id="s",
        group="g",
        official_split="",
        slide_sha256="",
        source_key="",
        options="{}",
        tile_size=SIZE,
        level0_size=SIZE,
        level=0,
        read_size=SIZE,
        mpp=0.5,
    )


def table_of(number: int) -> TileTable:
    return TileTable(
        sample_ids=[f"s/{row}" for row in range(number)],
        corners=np.zeros((number, 2), dtype=np.int64),
        labels=["normal"] * number,
        tumor_fractions=np.zeros(number),
        tissue_fractions=np.ones(number),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system alone decides")
def test_writing_to_the_disk_begins_early_and_each_byte_once(
    tmp_path: Path, facts: SlideFacts, monkeypatch: pytest.MonkeyPatch
):
    begun = []
    begin = os.posix_fadvise

    def record(descriptor: int, start: int, length: int, advice: int) -> None:
        begun.append((start, start + length))
        begin(descriptor, start, length, advice)

    monkeypatch.setattr("datasets.wsi.store._WRITEBACK_BYTES", 5 * SIZE * SIZE * 3)
    monkeypatch.setattr("os.posix_fadvise", record)
    images = np.random.default_rng(0).integers(0, 256, (23, SIZE, SIZE, 3), dtype=np.uint8)
    path = tmp_path / "s.h5"
    write_tiles(path, facts, table_of(23), (image.tobytes() for image in images))
    starts, ends = zip(*begun, strict=True)
    assert starts == (0, *ends[:-1])
    assert 4 <= len(begun) <= 5
    with open_tiles(path) as file:
        np.testing.assert_array_equal(file["image"][:], images)


def test_a_tile_with_a_flipped_bit_is_not_served_and_its_neighbours_are(
    tmp_path: Path, facts: SlideFacts
):
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    path = tmp_path / "s.h5"
    write_tiles(path, facts, table_of(3), (image.tobytes() for image in images))
    content = bytearray(path.read_bytes())
    content[content.index(images[1].tobytes()) + 1000] ^= 4
    path.write_bytes(content)
    with open_tiles(path) as file:
        pixels = TilePixels(file)
        for row in (0, 2):
            np.testing.assert_array_equal(pixels.read(row, f"s/{row}"), images[row])
        with pytest.raises(ValueError, match="row 1 does not agree with its checksum"):
            pixels.read(1, "s/1")
        with pytest.raises(ValueError, match="row 2 does not agree with its checksum"):
            pixels.read(2, "s/0")


def test_no_flipped_bit_gives_another_table(tmp_path: Path, facts: SlideFacts):
    path = tmp_path / "s.h5"
    table = replace(table_of(3), tumor_fractions=np.array([0.25, np.nan, 1.0]))
    small = replace(facts, tile_size=8, options='{"mpp": 0.5}')
    write_tiles(path, small, table, [bytes(8 * 8 * 3)] * 3)
    expected = repr(read_table(path))
    content = path.read_bytes()
    meant = (b"s/1", b"normal", b'"mpp": 0.5', np.float64(0.25).tobytes())
    rng = np.random.default_rng(0)
    places = [content.index(part) for part in meant] + rng.integers(len(content), size=60).tolist()
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(7)
        path.write_bytes(changed)
        with suppress(DatasetError):
            assert repr(read_table(path)) == expected, place


def test_too_little_space_is_said_before_a_tile_is_read(
    tmp_path: Path, facts: SlideFacts, monkeypatch: pytest.MonkeyPatch
):
    usage = store.shutil.disk_usage(tmp_path)._replace(free=3 * SIZE * SIZE * 3)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    path = tmp_path / "slides" / "s.h5"

    def images(number: int):
        assert number == 2, "read although there is no room"
        yield from [bytes(SIZE * SIZE * 3)] * number

    with pytest.raises(DatasetError, match="--out on another disk"):
        write_tiles(path, facts, table_of(3), images(3))
    assert not path.exists()
    write_tiles(path, facts, table_of(2), images(2))
    assert path.exists()
