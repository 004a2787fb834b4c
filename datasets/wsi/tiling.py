"""Cuts one slide into tiles: tissue, grid, labels, pixels, overview."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import DatasetError
from datasets.samples import hash_file
from datasets.sources.camelyon16_slides import kind_of
from datasets.wsi.annotations import read_asap
from datasets.wsi.files import SlideFile
from datasets.wsi.grid import Grid, plan_grid
from datasets.wsi.lesions import Lesions
from datasets.wsi.overview import draw_overview
from datasets.wsi.slide import Slide
from datasets.wsi.store import (
    IGNORED,
    TILES_FOLDER,
    UNLABELLED,
    SlideFacts,
    TileTable,
    write_tiles,
)
from datasets.wsi.tissue import find_tissue

OVERVIEW_FOLDER: Final = "overviews"


@dataclass(frozen=True)
class TilingOptions:
    """How slides are cut.

    Attributes:
        mpp: Micrometres a tile pixel; None: at the resolution of `level`.
        level: None: at `mpp`.
        tile_size: Side in pixels.
        overlap: Of neighbours in pixels.
        min_tissue: Least share of tissue in a tile that is kept.
        tumor_from: Least share of tumor in a tile that is labelled tumor.
        normal_to: Largest share of tumor in a tile that is labelled normal.
        max_tiles: At most so many tiles a slide and label, drawn at random; None: all.
        seed: Of that draw.
    """

    mpp: float | None = None
    level: int | None = None
    tile_size: int = 256
    overlap: int = 0
    min_tissue: float = 0.5
    tumor_from: float = 0.5
    normal_to: float = 0.0
    max_tiles: int | None = None
    seed: int = 0

    def to_json(self) -> str:
        """Return the options as text that is the same for the same options."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class TilingJob:
    """One slide to cut, into files below `out`."""

    slide: SlideFile
    options: TilingOptions
    out: Path

    @property
    def tiles_path(self) -> Path:
        """The HDF5 file; it is written last, so where it is, the slide is finished."""
        return self.out / TILES_FOLDER / f"{self.slide.slide_id}.h5"

    @property
    def overview_path(self) -> Path:
        """The picture."""
        return self.out / OVERVIEW_FOLDER / f"{self.slide.slide_id}.png"

    @property
    def source_key(self) -> str:
        """Hash of what the tiles are made of; the slide, which may be huge, by its size only."""
        slide = self.slide
        parts = [
            str(slide.path.stat().st_size),
            hash_file(slide.xml_path) if slide.xml_path else "",
            slide.group,
            str(slide.is_labelled),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class SlideReport:
    """What came of a slide: number of tiles by label, and of annotations without an area."""

    slide_id: str
    counts: dict[str, int]
    skipped_annotations: int


def tile_slide(job: TilingJob) -> SlideReport:
    """Cut one slide and write its tiles and overview.

    Raises:
        DatasetError: The slide or its annotations cannot be used; the message says why.
        OSError: A file cannot be written.
    """
    slide_file, options = job.slide, job.options
    if kind_of(slide_file.slide_id) == "tumor" and slide_file.xml_path is None:
        raise DatasetError(
            f"{slide_file.path} is a tumor slide by its name, but there is no "
            f"{slide_file.slide_id}.xml. Pass the folder of the annotations as --annotations, or "
            "rename the slide if it is none of Camelyon16's."
        )
    with Slide(slide_file.path) as slide:
        grid = plan_grid(
            slide,
            mpp=options.mpp,
            level=options.level,
            tile_size=options.tile_size,
            overlap=options.overlap,
        )
        lesions, skipped = _read_lesions(slide_file, slide.size)
        tissue = find_tissue(slide, grid.level0_size)
        tissue_fractions = tissue.fractions(grid.corners, grid.level0_size)
        kept = np.flatnonzero(tissue_fractions >= options.min_tissue)
        tumor_fractions = np.full(len(kept), np.nan)
        if slide_file.is_labelled:
            tumor_fractions = lesions.fractions(grid.corners[kept], grid.level0_size)
        labels = label_tiles(tumor_fractions, options, slide_file.is_fully_annotated)
        drawn = _draw(labels, options, slide_file.slide_id)
        kept = kept[drawn]
        table = TileTable(
            sample_ids=[f"{slide_file.slide_id}/x{x}_y{y}" for x, y in grid.corners[kept]],
            corners=grid.corners[kept],
            labels=[labels[index] for index in drawn],
            tumor_fractions=tumor_fractions[drawn],
            tissue_fractions=tissue_fractions[kept],
        )
        facts = SlideFacts(
            slide_id=slide_file.slide_id,
            group=slide_file.group,
            official_split=slide_file.official_split or "",
            slide_sha256=hash_file(slide_file.path),
            source_key=job.source_key,
            options=options.to_json(),
            tile_size=options.tile_size,
            level0_size=grid.level0_size,
            level=grid.level,
            read_size=grid.read_size,
            mpp=grid.mpp or 0.0,
            is_synthetic=slide_file.is_synthetic,
        )
        draw_overview(job.overview_path, tissue, lesions.rings, table, facts)
        write_tiles(job.tiles_path, facts, table, read_tiles(slide, grid, table.corners))
    return SlideReport(slide_file.slide_id, dict(Counter(table.labels)), skipped)


def label_tiles(
    tumor_fractions: NDArray[np.float64], options: TilingOptions, is_fully_annotated: bool
) -> list[str]:
    """Return a label a tile; on slides annotated in part, what is not tumor is ignored."""
    labels = []
    for fraction in tumor_fractions:
        if np.isnan(fraction):
            labels.append(UNLABELLED)
        elif fraction >= options.tumor_from:
            labels.append("tumor")
        elif fraction <= options.normal_to and is_fully_annotated:
            labels.append("normal")
        else:
            labels.append(IGNORED)
    return labels


def read_tiles(slide: Slide, grid: Grid, corners: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the tiles at `corners`, (N, 2) level-0 pixels, as bytes: RGB, row by row.

    Raises:
        DatasetError: The slide is damaged.
    """
    for x, y in corners.tolist():
        if grid.read_size == grid.tile_size:
            yield slide.read_bytes(x, y, grid.level, grid.read_size)
        else:
            region = slide.read(x, y, grid.level, grid.read_size, grid.read_size)
            size = (grid.tile_size, grid.tile_size)
            yield region.resize(size, Image.Resampling.BILINEAR).tobytes()


def _read_lesions(slide_file: SlideFile, size: tuple[int, int]) -> tuple[Lesions, int]:
    if slide_file.xml_path is None:
        return Lesions(()), 0
    annotations = read_asap(slide_file.xml_path, size)
    return Lesions(annotations.outlines), annotations.skipped


def _draw(labels: list[str], options: TilingOptions, slide_id: str) -> NDArray[np.int64]:
    """Return the rows of at most ``max_tiles`` tiles a label, in their order on the slide."""
    if options.max_tiles is None:
        return np.arange(len(labels))
    digest = hashlib.sha256(f"{options.seed}/{slide_id}".encode()).digest()
    order = np.random.default_rng(list(digest)).permutation(len(labels))
    taken: Counter[str] = Counter()
    drawn = []
    for row in order.tolist():
        if taken[labels[row]] < options.max_tiles:
            taken[labels[row]] += 1
            drawn.append(row)
    return np.array(sorted(drawn), dtype=np.int64)
