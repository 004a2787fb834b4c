"""Cut slides into tiles with labels: a training set for the tumor classifier, from slides and XML.

    python experiments/tile_slides.py --slides DIR --out data/tiles --mpp 0.5 --workers 2
    python experiments/camelyon16_resnet18.py --data-root data/tiles

Finds tissue, lays a grid, compares it with the ASAP polygons (NAME.xml for the slide NAME), and
writes an HDF5 file and an overview PNG a slide, and tiles.csv for all. Finished slides are not done
again, so run it again after an interruption, or with further slides. Exit code 1: a slide failed.

Time: near that of reading the tiles, about 500 to 1,000 tiles of 256 px a second and process.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from filelock import FileLock, Timeout
from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.sources.camelyon16_slides import compare_with_published
from datasets.synthetic import is_synthetic_root
from datasets.wsi.files import find_slides
from datasets.wsi.manifest import TILES_INFO_NAME, TILES_NAME, write_tile_manifest
from datasets.wsi.store import TILES_FOLDER, read_facts
from datasets.wsi.tiling import (
    OVERVIEW_FOLDER,
    SlideReport,
    TilingJob,
    TilingOptions,
    tile_slide,
)
from datasets.wsi.workers import JobFailure, run_isolated
from experiments.cli import run_script

log = logging.getLogger(__name__)
_FAILED = 1


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
        if min(self.val_fraction, self.test_fraction) <= 0 or (
            self.val_fraction + self.test_fraction >= 1
        ):
            raise ValueError(
                "--val-fraction and --test-fraction must be above 0 and leave something for "
                f"training, not {self.val_fraction} and {self.test_fraction}."
            )
        for flag, number in (("--workers", self.workers), ("--max-tiles", self.max_tiles)):
            if number is not None and number < 1:
                raise ValueError(f"{flag} must be 1 or more, not {number}.")


def main(options: Options) -> Path:
    """Cut what is not cut yet, write the manifest, print what there is; return its path.

    Raises:
        SystemExit: With code 1, after all others are done, where a slide failed.
    """
    jobs = _plan(options)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(options.out / ".lock", timeout=0):
            return _cut(options, jobs)
    except Timeout as error:
        raise ValueError(
            f"Another tile_slides.py writes to {options.out}. Wait for it, or pass another --out."
        ) from error


def _plan(options: Options) -> list[TilingJob]:
    slides = find_slides(options.slides, options.annotations, options.group_pattern)
    if options.check_counts and (
        differences := compare_with_published(slide.slide_id for slide in slides)
    ):
        raise DatasetError(
            "Counts differ from the published ones:\n  " + "\n  ".join(differences) + "\nComplete "
            "the set, or leave out --check-counts."
        )
    tiling = TilingOptions(
        mpp=options.mpp,
        level=options.level,
        tile_size=options.tile_size,
        overlap=options.overlap,
        min_tissue=options.min_tissue,
        tumor_from=options.tumor_from,
        normal_to=options.normal_to,
        max_tiles=options.max_tiles,
        seed=options.seed if options.max_tiles else 0,
    )
    return [TilingJob(slide, tiling, options.out) for slide in slides]


def _cut(options: Options, jobs: Sequence[TilingJob]) -> Path:
    _clean(options)
    _require_same_options(options, jobs[0].options)
    to_do = [job for job in jobs if not _is_finished(job)]
    if len(to_do) < len(jobs):
        log.info("%d of %d slides are finished already.", len(jobs) - len(to_do), len(jobs))
    failures: dict[str, str] = {}
    num_tiles = 0
    with tqdm(total=len(to_do), desc="cutting slides", unit="slide", disable=None) as bar:
        for job, outcome in run_isolated(tile_slide, to_do, options.workers):
            if isinstance(outcome, JobFailure):
                failures[job.slide.slide_id] = outcome.reason
                log.error("FAILED %s: %s", job.slide.slide_id, outcome.reason)
            else:
                num_tiles += sum(outcome.counts.values())
                _log_report(outcome)
            bar.update()
            bar.set_postfix(tiles=num_tiles, failed=len(failures))
    path = write_tile_manifest(
        options.out,
        {
            "train": 1 - options.val_fraction - options.test_fraction,
            "val": options.val_fraction,
            "test": options.test_fraction,
        },
        options.seed,
        {
            "name": options.out.resolve().name,
            "synthetic": is_synthetic_root(options.slides),
            "tiling": jobs[0].options.to_json(),
            "failed": failures,
        },
    )
    print(f"Written to {path}; look at {options.out / OVERVIEW_FOLDER}.")
    if failures:
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in sorted(failures.items()))
        log.error("%d of %d slides failed:\n  %s", len(failures), len(jobs), reasons)
        sys.exit(_FAILED)
    return path


def _clean(options: Options) -> None:
    """Delete what a killed run left half written and, with ``--overwrite``, everything."""
    stale = [*options.out.glob("*/.*.tmp"), *options.out.glob(".*.tmp")]
    if options.overwrite:
        stale += [
            *(options.out / TILES_FOLDER).glob("*.h5"),
            *(options.out / OVERVIEW_FOLDER).glob("*.png"),
            options.out / TILES_NAME,
            options.out / TILES_INFO_NAME,
        ]
    for path in stale:
        path.unlink(missing_ok=True)


def _require_same_options(options: Options, tiling: TilingOptions) -> None:
    for path in sorted((options.out / TILES_FOLDER).glob("*.h5")):
        try:
            found = read_facts(path).options
        except DatasetError:
            continue  # Broken: it is cut again.
        if found != tiling.to_json():
            raise DatasetError(
                f"{options.out} holds tiles cut with other options:\n  {found}\nthan now:\n  "
                f"{tiling.to_json()}\nPass --overwrite to cut all again, or another --out."
            )


def _is_finished(job: TilingJob) -> bool:
    if not job.tiles_path.is_file():
        return False
    try:
        is_same = read_facts(job.tiles_path).source_key == job.source_key
    except DatasetError as error:
        log.warning("%s", error)
        is_same = False
    if not is_same:
        log.info("%s is cut again: its file or annotations changed.", job.slide.slide_id)
        job.tiles_path.unlink()
    return is_same


def _log_report(report: SlideReport) -> None:
    counts = Counter(report.counts)
    parts = ", ".join(f"{number} {label}" for label, number in sorted(counts.items()))
    log.info("%s: %s tiles", report.slide_id, parts or "no")
    if not counts:
        log.warning("%s has no tile with enough tissue; see its overview.", report.slide_id)
    if report.skipped_annotations:
        log.warning(
            "%s: left out %d annotations without an area (dots, or fewer than three points).",
            report.slide_id,
            report.skipped_annotations,
        )


if __name__ == "__main__":
    run_script(main, Options, __doc__)
