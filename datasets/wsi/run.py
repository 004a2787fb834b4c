"""Cuts many slides, a process each, and goes on where an earlier run stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.files import remove_unfinished
from datasets.locks import LockedError, OwnedLock
from datasets.samples import hash_file
from datasets.wsi.files import SlideFile
from datasets.wsi.manifest import TILES_INFO_NAME, TILES_NAME
from datasets.wsi.store import TILES_FOLDER, read_table
from datasets.wsi.tiling import (
    OVERVIEW_FOLDER,
    SlideReport,
    TilingJob,
    TilingOptions,
    tile_slide,
)
from datasets.wsi.workers import JobFailure, run_isolated

log = logging.getLogger(__name__)


def cut_slides(
    slides: Sequence[SlideFile],
    options: TilingOptions,
    out: Path,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
) -> dict[str, str]:
    """Cut the slides that are not cut yet; return why others failed, by slide.

    A slide whose file or annotations changed since is cut again, and one whose table is damaged;
    damaged pixels are noticed when they are read.

    Args:
        slides: To cut.
        options: How.
        out: Folder of the tiles and overviews.
        num_workers: Processes, each with one slide at a time.
        overwrite: Delete all earlier tiles in `out` first.

    Raises:
        DatasetError: `out` holds tiles that were cut with other options, or another run writes
            to it.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with OwnedLock(out / ".lock", out):
            _clean(out, overwrite=overwrite)
            _require_same_options(out, options)
            jobs = [TilingJob(slide, options, out) for slide in slides]
            to_do = [job for job in jobs if not _is_finished(job)]
            if len(to_do) < len(jobs):
                log.info("%d of %d slides are finished already.", len(jobs) - len(to_do), len(jobs))
            return _run(to_do, num_workers)
    except LockedError as error:
        raise DatasetError(
            f"Another run writes tiles: {error} Wait for it, end it, or pass another --out."
        ) from error


def _run(jobs: Sequence[TilingJob], num_workers: int) -> dict[str, str]:
    failures: dict[str, str] = {}
    num_tiles = 0
    with tqdm(total=len(jobs), desc="cutting slides", unit="slide", disable=None) as bar:
        for job, outcome in run_isolated(tile_slide, jobs, num_workers):
            if isinstance(outcome, JobFailure):
                failures[job.slide.slide_id] = outcome.reason
                log.error("FAILED %s: %s", job.slide.slide_id, outcome.reason)
            else:
                num_tiles += sum(outcome.counts.values())
                _log_report(outcome)
            bar.update()
            bar.set_postfix(tiles=num_tiles, failed=len(failures))
    return failures


def _clean(out: Path, *, overwrite: bool) -> None:
    """Delete what a killed run left half written and, to overwrite, everything."""
    for folder in (out, out / TILES_FOLDER, out / OVERVIEW_FOLDER):
        remove_unfinished(folder)
    if overwrite:
        for path in (
            *(out / TILES_FOLDER).glob("*.h5"),
            *(out / OVERVIEW_FOLDER).glob("*.png"),
            out / TILES_NAME,
            out / TILES_INFO_NAME,
        ):
            path.unlink(missing_ok=True)


def _require_same_options(out: Path, options: TilingOptions) -> None:
    for path in sorted((out / TILES_FOLDER).glob("*.h5")):
        try:
            found = read_table(path)[0].options
        except DatasetError:
            continue  # Broken: it is cut again.
        if found != options.to_json():
            raise DatasetError(
                f"{out} holds tiles cut with other options; then -> now:\n  "
                f"{_format_changes(json.loads(found), asdict(options))}\nPass --overwrite to cut "
                "all again, or another --out."
            )


def _format_changes(earlier: Any, now: dict[str, Any]) -> str:
    """Return the options that differ, as in ``level: null -> 0, mpp: 0.5 -> null``."""
    told = earlier if isinstance(earlier, dict) else {}
    return ", ".join(
        f"{name}: {json.dumps(told.get(name))} -> {json.dumps(now.get(name))}"
        for name in sorted({*told, *now})
        if told.get(name) != now.get(name)
    )


def _is_finished(job: TilingJob) -> bool:
    """Return whether a slide's tiles are there and of these files; others are deleted.

    Its table is compared with its checksum; pixels are when they are read.
    """
    if not job.tiles_path.is_file():
        return False
    try:
        facts, _ = read_table(job.tiles_path)
        is_same = facts.source_key == job.source_key
        if job.slide.path.stat().st_mtime_ns > job.tiles_path.stat().st_mtime_ns:
            is_same = is_same and hash_file(job.slide.path) == facts.slide_sha256
    except DatasetError as error:
        log.warning("%s", error)
        is_same = False
    if not is_same:
        log.info("%s is cut again: its tiles are broken, or made of other files.", job.tiles_path)
        job.tiles_path.unlink()
    return is_same


def _log_report(report: SlideReport) -> None:
    parts = ", ".join(f"{number} {label}" for label, number in sorted(report.counts.items()))
    log.info("%s: %s tiles", report.slide_id, parts or "no")
    if not report.counts:
        log.warning("%s has no tile with enough tissue; see its overview.", report.slide_id)
    if report.skipped_annotations:
        log.warning(
            "%s: left out %d annotations without an area (dots, or fewer than three points).",
            report.slide_id,
            report.skipped_annotations,
        )
