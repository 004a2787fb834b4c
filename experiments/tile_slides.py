"""Cut slides into tiles with labels: a training set for the tumor classifier, from slides and XML.

    python experiments/tile_slides.py --slides DIR --out data/tiles --mpp 0.5 --workers 2
    python experiments/camelyon16_resnet18.py --data-root data/tiles

Finds tissue, lays a grid, compares it with the ASAP polygons (NAME.xml for the slide NAME), and
writes an HDF5 file and an overview PNG a slide, and tiles.csv for all. Finished slides are not done
again, so run it again after an interruption, or with further slides. Exit code 1: a slide failed.

Time: near that of reading the tiles.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.sources.camelyon16_slides import compare_with_published
from datasets.sources.wbc_bundle import report_counts
from datasets.wsi.files import find_slides
from datasets.wsi.manifest import write_tile_manifest
from datasets.wsi.run import cut_slides
from datasets.wsi.tiling import OVERVIEW_FOLDER, TilingOptions
from experiments.cli import run_script
from experiments.split_fractions import split_fractions

log = logging.getLogger(__name__)
_FAILED, _INTERRUPTED = 1, 130


@dataclass(frozen=True)
class Options:
    """Which slides are cut, how, and where the tiles go."""

    slides: Path
    """Folder of slides, with any sub-folders, or one slide."""
    out: Path
    """Folder for tiles.csv, slides/NAME.h5 and overviews/NAME.png."""
    annotations: Path | None = None
    """Folder of the ASAP XML files. Default: they lie among the slides."""
    mpp: float | None = None
    """Micrometres a tile pixel. Give this, or --level for slides that do not state their own."""
    level: int | None = None
    """Cut at the resolution of this level of each slide instead, whatever it is on the glass."""
    tile_size: int = 256
    """Side of a tile in pixels."""
    overlap: int = 0
    """Of neighbouring tiles in pixels."""
    min_tissue: float = 0.5
    """Least share of tissue in a tile that is kept."""
    tumor_from: float = 0.5
    """A tile with at least this share of tumor is labelled tumor."""
    normal_to: float = 0.0
    """A tile with at most this share of tumor is normal; what is between is ignored."""
    max_tiles: int | None = None
    """Keep at most so many tiles a slide and label, drawn at random. Default: all."""
    val_fraction: float = 0.1
    """Share of the patients for validation."""
    test_fraction: float = 0.2
    """Share of them for the test, where there are no official test slides (test_*)."""
    seed: int = 0
    """Of the splits and of --max-tiles."""
    group_pattern: str | None = None
    """Regular expression that finds the patient in a slide's name. Default: TCGA's, or the name."""
    workers: int = 1
    """Processes; each cuts one slide at a time."""
    check_counts: bool = False
    """Refuse Camelyon16 slides whose numbers differ from the published ones."""
    overwrite: bool = False
    """Delete what an earlier run with other options left in --out."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: Naming the flags.
        """
        if (self.mpp is None) == (self.level is None):
            raise ValueError(
                "Pass either --mpp, the µm per pixel of the tiles (0.5 is 20x), or --level, for "
                "slides that do not state theirs; not both and not neither."
            )
        if self.mpp is not None and not 0 < self.mpp < 1000:
            raise ValueError(f"--mpp must be above 0 and below 1000 µm, not {self.mpp}.")
        if self.level is not None and self.level < 0:
            raise ValueError(f"--level must be 0 or more, not {self.level}.")
        if not 8 <= self.tile_size <= 8192:
            raise ValueError(f"--tile-size must be 8 to 8192 pixels, not {self.tile_size}.")
        if not 0 <= self.overlap < self.tile_size:
            raise ValueError(
                f"--overlap must be 0 or more and less than --tile-size {self.tile_size}, not "
                f"{self.overlap}."
            )
        if not 0 <= self.min_tissue <= 1:
            raise ValueError(f"--min-tissue must be in 0 to 1, not {self.min_tissue}.")
        if not 0 <= self.normal_to < self.tumor_from <= 1:
            raise ValueError(
                "--normal-to must be 0 or more and below --tumor-from, which must be at most 1, "
                f"not {self.normal_to} and {self.tumor_from}."
            )
        split_fractions(self.val_fraction, self.test_fraction)
        for flag, number in (("--workers", self.workers), ("--max-tiles", self.max_tiles)):
            if number is not None and number < 1:
                raise ValueError(f"{flag} must be 1 or more, not {number}.")

    @property
    def tiling(self) -> TilingOptions:
        """How each slide is cut."""
        return TilingOptions(
            mpp=self.mpp,
            level=self.level,
            tile_size=self.tile_size,
            overlap=self.overlap,
            min_tissue=self.min_tissue,
            tumor_from=self.tumor_from,
            normal_to=self.normal_to,
            max_tiles=self.max_tiles,
            # Without a draw the seed changes no tile, so finished slides serve another one.
            seed=self.seed if self.max_tiles else 0,
        )


def main(options: Options) -> Path:
    """Cut what is not cut yet, write the manifest, print where it lies; return its path.

    Raises:
        SystemExit: With code 1, after all others are done, where a slide failed; with code 130
            where the user stopped the run.
    """
    slides = find_slides(options.slides, options.annotations, options.group_pattern)
    if options.check_counts:
        report_counts(compare_with_published(slide.slide_id for slide in slides), strict=True)
    tiling = options.tiling
    try:
        failures = cut_slides(
            slides, tiling, options.out, num_workers=options.workers, overwrite=options.overwrite
        )
    except KeyboardInterrupt:
        log.error("Stopped. Finished slides are kept; the same command goes on with the others.")
        sys.exit(_INTERRUPTED)
    path = write_tile_manifest(
        options.out,
        split_fractions(options.val_fraction, options.test_fraction),
        options.seed,
        {
            "name": options.out.resolve().name,
            "tiling": json.loads(tiling.to_json()),
            "failed": failures,
        },
    )
    print(f"Written to {path}; look at {options.out / OVERVIEW_FOLDER}.")
    if failures:
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in sorted(failures.items()))
        log.error("%d of %d slides failed:\n  %s", len(failures), len(slides), reasons)
        sys.exit(_FAILED)
    return path


if __name__ == "__main__":
    run_script(main, Options, __doc__)
