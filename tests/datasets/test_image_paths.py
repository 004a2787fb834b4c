"""Which files a command line's names stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.image_paths import find_images


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.png", "a.JPG", "sub/c.tiff", "sub/deep/d.bmp", "sub/notes.txt", ".e.png",
                 ".hidden/f.png", "cell[1].png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(sources: list[str]) -> list[str]:
    return [path.as_posix() for path in find_images(sources)]


def test_folder_is_searched_with_its_subfolders_and_sorted_without_hidden_files(tree: Path):
    assert names(["."]) == ["a.JPG", "b.png", "cell[1].png", "sub/c.tiff", "sub/deep/d.bmp"]


def test_masks_in_a_folder_are_left_out_and_counted(tmp_path: Path, caplog):
    for name in ("001.bmp", "002.bmp"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    mask = Image.fromarray(np.eye(40, dtype=np.uint8) * 255)
    for name in ("001.png", "alone.png", "mask/001.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        mask.save(tmp_path / name)
    caplog.set_level("INFO")
    found = [Path(name).name for name in names([str(tmp_path)])]
    assert found == ["001.bmp", "002.bmp", "alone.png"]
    assert caplog.messages == [f"{tmp_path}: 1 masks beside their images are left out."]
    assert len(names([str(tmp_path / "001.png"), str(tmp_path / "*.png")])) == 2, "named by hand"


def test_pattern_takes_images_and_searches_folders(tree: Path):
    assert names(["*.png"]) == ["b.png", "cell[1].png"]
    assert names(["**/*.bmp"]) == ["sub/deep/d.bmp"]
    assert names(["s*"]) == ["sub/c.tiff", "sub/deep/d.bmp"]


def test_order_is_that_of_the_sources_and_a_path_comes_once(tree: Path):
    sources = ["sub/deep/d.bmp", "b.png", str(tree / "b.png"), "./sub/../b.png", "."]
    assert names(sources) == [
        "sub/deep/d.bmp", "b.png", "a.JPG", "cell[1].png", "sub/c.tiff",
    ]  # fmt: skip


def test_existing_name_is_no_pattern_and_a_named_file_needs_no_ending(tree: Path):
    assert names(["cell[1].png", "sub/notes.txt"]) == ["cell[1].png", "sub/notes.txt"]


def test_broken_link_is_kept_for_the_reader_to_name(tree: Path):
    (tree / "gone.png").symlink_to(tree / "nowhere.png")
    assert names(["gone.png"]) == ["gone.png"]


def test_linked_loop_of_folders_ends(tree: Path):
    (tree / "sub" / "loop").symlink_to(tree, target_is_directory=True)
    assert "sub/c.tiff" in names(["."])


@pytest.mark.parametrize("source", ["missing.png", "*.gif", "empty", "sub/*.txt"])
def test_source_without_image_is_an_error_that_names_it(tree: Path, source: str):
    (tree / "empty").mkdir()
    with pytest.raises(DatasetError, match="No image found under") as error:
        find_images(["b.png", source])
    assert repr(source) in str(error.value)
    assert ".png" in str(error.value)
