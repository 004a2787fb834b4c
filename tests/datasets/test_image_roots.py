"""Which folders images are read from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.image_roots import VARIABLE, ImageRoot, allowed_folders
from datasets.manifest import MANIFEST_COLUMNS, read_manifest


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of one image, beside a folder whose name begins as its own."""
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in ("set", "set-private"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")
    rows = ",".join(MANIFEST_COLUMNS), "a,a.png,x,test,g,,h"
    (tmp_path / "set/manifest.csv").write_text("\n".join(rows))
    return tmp_path / "set"


@pytest.mark.parametrize("stated", ["", os.pathsep, "{0}/a{1}{1}{0}/b"])
def test_no_name_is_not_the_working_folder(stated: str, prepared: Path, monkeypatch):
    monkeypatch.chdir(prepared.parent)
    monkeypatch.setenv(VARIABLE, stated.format(prepared, os.pathsep))
    named = [prepared / "a", prepared / "b"] if "a" in stated else []
    assert allowed_folders() == named
    (prepared / "manifest.json").write_text(json.dumps({"image_root": "../set-private"}))
    with pytest.raises(DatasetError, match=VARIABLE):
        read_manifest(prepared)


@pytest.mark.parametrize("name", ["link.png", "in/a.png"])
def test_a_folder_is_not_inside_another_because_its_name_begins_so(name: str, prepared: Path):
    (prepared / "link.png").symlink_to("../set-private/a.png")
    (prepared / "in").symlink_to("../set-private")
    with pytest.raises(DatasetError, match="link that leads out"):
        ImageRoot(prepared).find(name, "table.csv, line 2", "")
    assert ImageRoot(prepared).find("a.png", "table.csv, line 2", "") == prepared / "a.png"


def test_packs_elsewhere_are_refused_where_the_environment_does_not_name_them(
    prepared: Path, monkeypatch
):
    (prepared / "manifest.json").write_text(json.dumps({"pack_dir": "../set-private"}))
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(DatasetError, match=f"set-private.*{VARIABLE}"):
        read_manifest(prepared)
    monkeypatch.setenv(VARIABLE, str(prepared.parent / "set-private"))
    (sample,) = read_manifest(prepared).samples
    assert sample.pack_dir.resolve() == prepared.parent / "set-private"
