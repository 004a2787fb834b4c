"""Slides and grids."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.synthetic.slides import write_slide
from datasets.wsi.files import find_slides
from datasets.wsi.grid import plan_grid
from datasets.wsi.slide import Slide
from datasets.wsi.tiling import read_tiles

JPEG_NOISE = 6


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_slide_states_its_size_levels_and_mpp(slide_path: Path):
    with Slide(slide_path) as slide:
        assert slide.size == (1024, 768)
        assert slide.downsamples == (1, 2, 4)
        assert slide.mpp == pytest.approx(0.5)


def test_region_is_the_picture_at_its_level_0_place(slide_path: Path, pixels: np.ndarray):
    with Slide(slide_path) as slide:
        region = np.asarray(slide.read(200, 300, 0, 128, 64))
        half = np.asarray(slide.read(200, 300, 1, 64, 32))
    assert region.shape == (64, 128, 3)
    assert mean_difference(region, pixels[300:364, 200:328]) < JPEG_NOISE
    reduced = Image.fromarray(pixels[300:364, 200:328]).reduce(2)
    assert mean_difference(half, np.asarray(reduced)) < JPEG_NOISE


def test_outside_of_the_slide_is_white(slide_path: Path):
    with Slide(slide_path) as slide:
        assert (np.asarray(slide.read(2000, 2000, 0, 8, 8)) == 255).all()


@pytest.mark.parametrize("num_levels", [1, 3])
def test_whole_slide_is_shrunk_in_blocks_without_seams(
    tmp_path: Path, num_levels: int, monkeypatch: pytest.MonkeyPatch
):
    y, x = np.mgrid[:600, :900]
    gradient = np.stack([x / 900, y / 600, np.ones_like(x) * 0.5], axis=2) * 255
    write_slide(tmp_path / "s.tif", gradient.astype(np.uint8), num_levels=num_levels)
    monkeypatch.setattr("datasets.wsi.slide._BLOCK", 128)
    with Slide(tmp_path / "s.tif") as slide:
        whole = slide.read_whole(4, 10**6)
        capped = slide.read_whole(1, 50 * 50)
    assert whole.size == (225, 150)
    expected = Image.fromarray(gradient.astype(np.uint8)).reduce(4)
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(expected)).max() < 16
    assert capped.width * capped.height <= 50 * 50 + 50


def test_truncated_slide_is_refused_when_opened_or_read(slide_path: Path):
    whole = slide_path.read_bytes()
    slide_path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"tumor_001\.tif.*(cannot be opened|damaged)"):
        read_everything(slide_path)


def test_slide_with_damaged_pixels_is_refused_and_named(slide_path: Path):
    content = bytearray(slide_path.read_bytes())
    content[2000:20000] = b"\x00" * 18000
    slide_path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"tumor_001\.tif is damaged"):
        read_everything(slide_path)


def read_everything(path: Path) -> None:
    with Slide(path) as slide:
        slide.read(0, 0, 0, *slide.size)


@pytest.mark.parametrize("content", [b"", b"no slide", struct.pack("<2sHI", b"II", 42, 99999)])
def test_file_that_is_no_slide_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be opened as a slide"):
        Slide(tmp_path / "x.tif")


def test_missing_slide_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="No slide"):
        Slide(tmp_path / "gone.svs")


def test_grid_at_the_slides_own_mpp_covers_it_with_whole_tiles(slide_path: Path):
    with Slide(slide_path) as slide:
        grid = plan_grid(slide, mpp=0.5, level=None, tile_size=100, overlap=0)
    assert len(grid.corners) == 10 * 7
    assert grid.corners[:11].tolist() == [[x, 0] for x in range(0, 1000, 100)] + [[0, 100]]
    assert (grid.level, grid.read_size, grid.level0_size) == (0, 100, 100)


def test_overlap_is_in_tile_pixels_and_corners_in_level_0_pixels(slide_path: Path):
    with Slide(slide_path) as slide:
        grid = plan_grid(slide, mpp=1.0, level=None, tile_size=64, overlap=16)
    assert grid.level0_size == 128
    assert np.diff(np.unique(grid.corners[:, 0])).tolist() == [96] * 9
    assert (grid.level, grid.read_size) == (1, 64)


@pytest.mark.parametrize(
    ("mpp", "level", "read_size"), [(0.5, 0, 64), (0.75, 0, 96), (1.5, 1, 96), (3.0, 2, 96)]
)
def test_tiles_are_read_from_the_coarsest_level_that_is_fine_enough(
    slide_path: Path, pixels: np.ndarray, mpp: float, level: int, read_size: int
):
    with Slide(slide_path) as slide:
        grid = plan_grid(slide, mpp=mpp, level=None, tile_size=64, overlap=0)
        tile = next(read_tiles(slide, grid, np.array([[256, 256]])))
    assert (grid.level, grid.read_size) == (level, read_size)
    assert grid.mpp == pytest.approx(mpp)
    tile = np.frombuffer(tile, dtype=np.uint8).reshape(64, 64, 3)
    side = grid.level0_size
    area = Image.fromarray(pixels[256 : 256 + side, 256 : 256 + side])
    expected = area.resize((64, 64), Image.Resampling.BOX)
    assert mean_difference(tile, np.asarray(expected)) < JPEG_NOISE


def test_slide_without_mpp_asks_for_a_level_and_is_cut_at_one(tmp_path: Path, pixels: np.ndarray):
    write_slide(tmp_path / "s.tif", pixels, mpp=None)
    with Slide(tmp_path / "s.tif") as slide:
        assert slide.mpp is None
        with pytest.raises(
            DatasetError, match="does not state its µm per pixel.*another --out with --level 0"
        ):
            plan_grid(slide, mpp=0.5, level=None, tile_size=64, overlap=0)
        grid = plan_grid(slide, mpp=None, level=1, tile_size=64, overlap=0)
    assert (grid.level, grid.level0_size, grid.mpp) == (1, 128, None)


def test_mpp_finer_than_the_slide_is_refused_but_scanner_differences_are_not(slide_path: Path):
    with Slide(slide_path) as slide:
        with pytest.raises(DatasetError, match=r"--mpp 0\.25 is finer.*--mpp 0\.5 or more"):
            plan_grid(slide, mpp=0.25, level=None, tile_size=64, overlap=0)
        assert plan_grid(slide, mpp=0.49, level=None, tile_size=64, overlap=0).read_size == 63


def test_level_that_is_not_there_is_refused(slide_path: Path):
    with Slide(slide_path) as slide, pytest.raises(DatasetError, match="levels 0 to 2.*--level 3"):
        plan_grid(slide, mpp=None, level=3, tile_size=64, overlap=0)


def test_slide_smaller_than_a_tile_gives_none(slide_path: Path):
    with Slide(slide_path) as slide:
        assert len(plan_grid(slide, mpp=0.5, level=None, tile_size=800, overlap=0).corners) == 0


def test_slide_with_more_places_than_any_slide_has_is_refused(
    slide_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("datasets.wsi.grid.MAX_TILES", 50)
    with Slide(slide_path) as slide:
        assert len(plan_grid(slide, mpp=0.5, level=None, tile_size=128, overlap=0).corners) == 48
        with pytest.raises(DatasetError, match="--tile-size or --mpp.*header is damaged"):
            plan_grid(slide, mpp=0.5, level=None, tile_size=64, overlap=0)


def test_slide_whose_name_is_no_utf8_is_refused(tmp_path: Path):
    try:
        (tmp_path / b"caf\xe9.svs".decode("utf-8", "surrogateescape")).write_bytes(b"bad")
    except OSError:
        pytest.skip("this file system refuses such names")
    with pytest.raises(DatasetError, match=r"caf.udce9\.svs: the name is not UTF-8"):
        find_slides(tmp_path)
