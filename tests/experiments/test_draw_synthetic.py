"""draw_synthetic.py: sets and sheets in every layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.catalogue import read_source
from datasets.synthetic import SYNTHETIC_SOURCES, PublishedSizes, is_synthetic_root
from experiments import draw_synthetic


@pytest.mark.parametrize("layout", SYNTHETIC_SOURCES)
def test_a_published_layout_is_drawn_where_its_reader_finds_it(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tiny = PublishedSizes(scale=0.001, width=32)
    monkeypatch.setattr(draw_synthetic, "PublishedSizes", lambda **_: tiny)
    draw_synthetic.main(draw_synthetic.Options(out=tmp_path / "set", layout=layout, columns=1))
    assert (tmp_path / "set" / f"synthetic_{layout}.jpg").stat().st_size > 1000
    images = read_source(layout, tmp_path / "set")
    assert len(images.images) > 20
    assert is_synthetic_root(images.root)


def test_sheets_only_writes_no_set(tmp_path: Path):
    options = draw_synthetic.Options(out=tmp_path, columns=1, layout="pbc", sheets_only=True)
    draw_synthetic.main(options)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic_pbc.jpg"]


def test_a_folder_with_files_and_numbers_below_one_are_refused(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="is not empty. Pass another --out"):
        draw_synthetic.main(draw_synthetic.Options(out=tmp_path, layout="aml"))
    with pytest.raises(ValueError, match="is a file. Pass a folder as --out"):
        draw_synthetic.main(draw_synthetic.Options(out=tmp_path / "mine.txt"))
    for flag in ("scale", "columns"):
        with pytest.raises(ValueError, match=f"--{flag} must be 1 or more, not 0"):
            draw_synthetic.Options(out=tmp_path, **{flag: 0})
