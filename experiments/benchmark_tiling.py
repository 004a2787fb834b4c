"""Does tile_slides.py keep up with a bare loop that reads the same tiles and drops them?

    python experiments/benchmark_tiling.py [--slides DIR --mpp 0.5]

Runs in turn, several rounds: the bare loop, tile_slides.py with one process, and with two. Prints
the median tiles a second of each and their ratios. tile_slides.py is timed as a whole: start of the
processes, tissue mask, hashes, overview, HDF5, manifest. Without --slides it draws two slides of
17,408 x 17,408 pixels, a small slide as slides go.

Time: three minutes on two cores. Measured there, idle: 0.80 of the bare loop with one process, and
1.9 times that with two.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from datasets.synthetic.slides import write_slide
from datasets.synthetic.tissue import draw_lymph_node_tile
from datasets.wsi.files import find_slides
from datasets.wsi.slide import read_and_drop
from datasets.wsi.store import TILES_FOLDER, read_table
from experiments import tile_slides
from experiments.cli import run_script

_SIDE, _MARGIN, _TEXTURE = 16384, 512, 1024


@dataclass(frozen=True)
class Options:
    """What is measured, and how often."""

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
    rounds: int = 3
    """Of which the median is taken."""
    work_dir: Path | None = None
    """Where tiles are written and deleted. Default: the system's temporary folder."""

    def __post_init__(self) -> None:
        """Refuse numbers that measure nothing.

        Raises:
            ValueError: Naming the flag.
        """
        for flag, number in (("--num-slides", self.num_slides), ("--rounds", self.rounds)):
            if number < 1:
                raise ValueError(f"{flag} must be 1 or more, not {number}.")


def main(options: Options) -> dict[str, float]:
    """Measure, print and return tiles a second and ratios."""
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        slides = options.slides or _draw_slides(Path(folder, "slides"), options.num_slides)
        mpp = 0.5 if options.mpp is None and options.level is None else options.mpp
        tiling = tile_slides.Options(
            slides=slides,
            out=Path(folder, "tiles"),
            mpp=mpp,
            level=options.level,
            tile_size=options.tile_size,
        )
        num_tiles, bare = _prepare_bare_loop(tiling)
        runs = {
            "bare loop of read_region": bare,
            "tile_slides.py, 1 process": lambda: _cut(tiling, workers=1),
            "tile_slides.py, 2 processes": lambda: _cut(tiling, workers=2),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                seconds[name].append(_time(run))
                shutil.rmtree(tiling.out, ignore_errors=True)
    rates = {name: num_tiles / statistics.median(taken) for name, taken in seconds.items()}
    bare_rate, one, two = rates.values()
    print(f"{num_tiles} tiles of {options.tile_size} px, median of {options.rounds} rounds")
    for name, rate in rates.items():
        print(f"{name:30}{rate:8.0f} tiles/s{rate / bare_rate:7.2f} of the bare loop")
    print(f"two processes against one: {two / one:.2f}")
    return {"bare": bare_rate, "one": one, "two": two}


def _prepare_bare_loop(tiling: tile_slides.Options) -> tuple[int, Callable[[], None]]:
    """Cut once, which also warms the disk's cache; return the tiles' number and the loop."""
    _cut(tiling, workers=1)
    paths = {slide.slide_id: slide.path for slide in find_slides(tiling.slides)}
    reads = []
    for path in sorted((tiling.out / TILES_FOLDER).glob("*.h5")):
        facts, table = read_table(path)
        reads.append((paths[facts.slide_id], facts.level, facts.read_size, table.corners))
    shutil.rmtree(tiling.out)

    def run() -> None:
        for read in reads:
            read_and_drop(*read)

    return sum(len(corners) for *_, corners in reads), run


def _cut(tiling: tile_slides.Options, *, workers: int) -> None:
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            tile_slides.main(replace(tiling, workers=workers))
    finally:
        logging.disable(logging.NOTSET)


def _time(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _draw_slides(folder: Path, number: int) -> Path:
    """Write slides of lymph node texture with a margin of glass."""
    repeats = _SIDE // _TEXTURE
    for index in range(number):
        texture, _ = draw_lymph_node_tile("normal", _TEXTURE, np.random.default_rng(index))
        margin = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
        pixels = np.pad(np.tile(texture, (repeats, repeats, 1)), margin, constant_values=242)
        write_slide(folder / f"normal_{index:03d}.tif", pixels, num_levels=6)
    return folder


if __name__ == "__main__":
    run_script(main, Options, __doc__)
