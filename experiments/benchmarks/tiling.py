"""Tiling of slides: a bare loop, a plain script, and tile_slides.py with one process and with two.

tile_slides.py is timed as a whole: start of the processes, tissue mask, hashes, overview, HDF5,
manifest.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from datasets.synthetic.slides import write_slide
from datasets.synthetic.tissue import draw_lymph_node_tile
from datasets.wsi.files import find_slides
from datasets.wsi.grid import plan_grid
from datasets.wsi.slide import Slide, read_and_drop
from datasets.wsi.store import TILES_FOLDER, read_table
from experiments import tile_slides
from experiments.benchmarks.measuring import OpenWay, RunRound, measure_in_turn, time_call
from experiments.benchmarks.options import MeasureOptions, require_positive
from experiments.benchmarks.results import Comparison, Fraction

CEILING: Final = "bare loop of read_region"
TEXTURE: Final = 1024
"""Side of the tissue that is drawn, and repeated, in pixels."""

_MARGIN: Final = 512
_GLASS: Final = 220
"""Mean gray level from which a plain script takes a tile for empty glass."""


@dataclass(frozen=True)
class Tile(MeasureOptions):
    """Cutting slides into tiles, by one process and by two."""

    slides: Path | None = None
    """Folder of slides. Default: synthetic ones."""
    mpp: float | None = None
    """As in tile_slides.py. Default: 0.5, or none with --level."""
    level: int | None = None
    """As in tile_slides.py."""
    tile_size: int = 256
    """Side of a tile in pixels."""
    num_slides: int = 2
    """How many synthetic slides are drawn."""
    slide_size: int = 16384
    """Side of the tissue on a synthetic slide in pixels; real slides are larger."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing."""
        super().__post_init__()
        require_positive({"--num-slides": self.num_slides, "--slide-size": self.slide_size})


def compare_tiling(options: Tile) -> Comparison:
    """Measure and return what was found; the tiles of `count` are those that ours keeps."""
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        slides = options.slides or _draw_slides(Path(folder, "slides"), options)
        tiling = tile_slides.Options(
            slides=slides,
            out=Path(folder, "tiles"),
            mpp=0.5 if options.mpp is None and options.level is None else options.mpp,
            level=options.level,
            tile_size=options.tile_size,
        )
        reads = _list_reads(tiling)
        ways: dict[str, OpenWay] = {
            "bare loop": partial(_open, partial(_read_bare, reads), tiling.out),
            "plain": partial(_open, partial(tile_plainly, tiling), tiling.out),
            # A server forks what cuts, so its CPU time is not told to the process measured here.
            "ours": partial(_open, partial(_cut, tiling, 1), tiling.out, is_cpu_known=False),
            "2 processes": partial(_open, partial(_cut, tiling, 2), tiling.out, is_cpu_known=False),
        }
        measured = measure_in_turn(ways, options.rounds)
    count = sum(len(read[3]) for read in reads)
    bare = measured["bare loop"].seconds
    return Comparison(
        "tile",
        "tiles",
        count,
        measured,
        {name: Fraction(CEILING, bare / way.seconds) for name, way in measured.items()},
        {CEILING: count / bare},
        asdict(options),
    )


def tile_plainly(tiling: tile_slides.Options) -> None:
    """Read each square of the grid, look whether it is glass, and save it as a JPEG if not."""
    tiling.out.mkdir()
    for number, file in enumerate(find_slides(tiling.slides)):
        with Slide(file.path) as slide:
            grid = plan_grid(
                slide, mpp=tiling.mpp, level=tiling.level, tile_size=tiling.tile_size, overlap=0
            )
            for x, y in grid.corners.tolist():
                tile = slide.read(x, y, grid.level, grid.read_size, grid.read_size)
                if np.asarray(tile.convert("L")).mean() < _GLASS:
                    tile = tile.resize((grid.tile_size, grid.tile_size))
                    tile.save(tiling.out / f"{number}_{x}_{y}.jpg")


_Read = tuple[Path, int, int, np.ndarray]
"""Slide, level, side in pixels of that level, upper left corners (N, 2) in level-0 pixels."""


def _list_reads(tiling: tile_slides.Options) -> list[_Read]:
    """Cut once, which also warms the disk's cache; return what the bare loop reads."""
    _cut(tiling, 1)
    paths = {slide.slide_id: slide.path for slide in find_slides(tiling.slides)}
    reads: list[_Read] = []
    for path in sorted((tiling.out / TILES_FOLDER).glob("*.h5")):
        facts, table = read_table(path)
        reads.append((paths[facts.slide_id], facts.level, facts.read_size, table.corners))
    shutil.rmtree(tiling.out)
    return reads


def _read_bare(reads: list[_Read]) -> None:
    for read in reads:
        read_and_drop(*read)


def _open(run: Callable[[], None], out: Path, *, is_cpu_known: bool = True) -> RunRound:
    clean_up = partial(shutil.rmtree, out, ignore_errors=True)
    return partial(time_call, run, clean_up, is_cpu_known=is_cpu_known)


def _cut(tiling: tile_slides.Options, workers: int) -> None:
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            tile_slides.main(replace(tiling, workers=workers))
    finally:
        logging.disable(logging.NOTSET)


def _draw_slides(folder: Path, options: Tile) -> Path:
    """Write slides of lymph node texture with a margin of glass."""
    texture = min(TEXTURE, options.slide_size)
    repeats = -(-options.slide_size // texture)
    for index in range(options.num_slides):
        rng = np.random.default_rng(options.seed + index)
        tissue, _ = draw_lymph_node_tile("normal", texture, rng)
        margin = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
        pixels = np.pad(np.tile(tissue, (repeats, repeats, 1)), margin, constant_values=242)
        write_slide(folder / f"normal_{index:03d}.tif", pixels, num_levels=6)
    return folder
