"""One slide, cut in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.wsi import tiling
from datasets.wsi.files import SlideFile
from datasets.wsi.store import read_table
from datasets.wsi.tiling import TilingJob, TilingOptions, tile_slide


@pytest.fixture
def job(slide_path: Path, tmp_path: Path) -> TilingJob:
    normal = slide_path.rename(slide_path.with_name("normal_001.tif"))
    slide = SlideFile(normal, normal.stem, normal.stem)
    return TilingJob(slide, TilingOptions(mpp=0.5, tile_size=64), tmp_path / "out")


def test_a_slide_whose_overview_fails_is_not_finished(job: TilingJob, monkeypatch):
    """The file of tiles says that a slide is finished, so it comes last."""

    def fail(*_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(tiling, "draw_overview", fail)
        with pytest.raises(OSError, match="no space"):
            tile_slide(job)
    assert list(job.out.rglob("*.h5")) == []
    report = tile_slide(job)
    assert job.overview_path.is_file()
    assert len(read_table(job.tiles_path)[1].sample_ids) == sum(report.counts.values()) > 0
