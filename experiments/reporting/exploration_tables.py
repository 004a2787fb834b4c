"""The summary of an exploration as text, CSV and JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.exploration import PixelStatistics
from datasets.files import write_whole
from experiments.reporting.tables import SYNTHETIC_NOTE, write_table

_TEXT_WIDTH = 80
_MAX_SPLIT_COLUMNS = 3
_MAX_BROKEN_NAMED = 5


@dataclass(frozen=True)
class ClassSummary:
    """What was found of one class.

    Attributes:
        label: The class.
        counts: Number of images by split.
        sizes: Number of images by (width, height), of all whose header can be read.
        pixels: Statistics of the images that were measured.
        broken: Paths of images that were to be measured and do not decode.
    """

    label: str
    counts: Mapping[str, int]
    sizes: Counter[tuple[int, int]]
    pixels: PixelStatistics
    broken: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """Images in all splits."""
        return sum(self.counts.values())


def build_table(summaries: Sequence[ClassSummary]) -> pd.DataFrame:
    """Return a row a class: counts, sizes, mean levels, shares darker than the thresholds."""
    return pd.DataFrame([_build_row(summary) for summary in summaries])


def write_summary(folder: Path, info: Mapping[str, Any], summaries: Sequence[ClassSummary]) -> None:
    """Write ``summary.csv`` and ``exploration.json`` (`info`, rows, every image size)."""
    table = build_table(summaries)
    write_table(table, folder / "summary.csv")
    content = {
        **info,
        "classes": json.loads(table.to_json(orient="records")),
        "sizes": {
            s.label: {f"{w}x{h}": n for (w, h), n in sorted(s.sizes.items())} for s in summaries
        },
        "unreadable": [path for summary in summaries for path in summary.broken],
    }
    with write_whole(folder / "exploration.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def format_summary(info: Mapping[str, Any], summaries: Sequence[ClassSummary]) -> str:
    """Return the summary as text of at most 80 columns."""
    splits = list(summaries[0].counts) if summaries else []
    shown = splits if 1 < len(splits) <= _MAX_SPLIT_COLUMNS else []
    heads = "".join(f"{_fit(split, 7):>8}" for split in shown)
    total = sum(summary.num_images for summary in summaries)
    measured = sum(summary.pixels.num_images for summary in summaries)
    lines = [_fit(f"{info['name']}: {total:,} images in {len(summaries)} class(es)", _TEXT_WIDTH)]
    if info["synthetic"]:
        lines.append(SYNTHETIC_NOTE)
    lines += [
        f"Pixels of {measured:,} images, at most {info['max_images']} a class (seed "
        f"{info['seed']}); counts of all.",
        "",
        f"{'class':14}{heads}{'all':>8}{'size':>11}{'R':>5}{'G':>5}{'B':>5}{'gray':>6}",
    ]
    for summary in summaries:
        counts = "".join(f"{summary.counts[split]:8,}" for split in shown)
        lines.append(
            f"{_fit(summary.label, 13):14}{counts}{summary.num_images:8,}" + _tail(summary)
        )
    if any(len(summary.sizes) > 1 for summary in summaries):
        lines.append("* the most common of several sizes")
    thresholds = summaries[0].pixels.thresholds if summaries else ()
    if thresholds and measured:
        lines += ["", "share of pixels darker than gray level (mean over images)"]
        lines.append(f"{'class':14}" + "".join(f"{threshold:8d}" for threshold in thresholds))
        lines += [
            f"{_fit(s.label, 13):14}" + "".join(f"{x:8.3f}" for x in s.pixels.share_below.mean(0))
            for s in summaries
            if s.pixels.num_images
        ]
    broken = [path for summary in summaries for path in summary.broken]
    if broken:
        lines += ["", f"Not readable, left out: {len(broken)} (all in exploration.json)"]
        lines += [f"  …{path[-74:]}" for path in broken[:_MAX_BROKEN_NAMED]]
    return "\n".join(lines)


def _build_row(summary: ClassSummary) -> dict[str, Any]:
    widths = [width for width, _ in summary.sizes]
    heights = [height for _, height in summary.sizes]
    common = _most_common_size(summary)
    pixels = summary.pixels
    row: dict[str, Any] = {"class": summary.label, "images": summary.num_images}
    row |= {f"images_{split}": number for split, number in summary.counts.items()}
    row |= {"measured": pixels.num_images, "unreadable": len(summary.broken)}
    row |= {
        "width_min": min(widths, default=None),
        "width_max": max(widths, default=None),
        "height_min": min(heights, default=None),
        "height_max": max(heights, default=None),
        "sizes": len(summary.sizes),
        "most_common_size": common,
    }
    measured = pixels.num_images > 0
    names = ("mean_red", "mean_green", "mean_blue")
    row |= dict(zip(names, pixels.mean_colour if measured else (None,) * 3, strict=True))
    row["mean_gray"] = pixels.mean_gray if measured else None
    for index, threshold in enumerate(pixels.thresholds):
        share = float(pixels.share_below[:, index].mean()) if measured else None
        row[f"share_below_{threshold}"] = share
        row[f"share_from_{threshold}"] = None if share is None else 1 - share
    return row


def _tail(summary: ClassSummary) -> str:
    size = _most_common_size(summary) or "none"
    star = "*" if len(summary.sizes) > 1 else " "
    if not summary.pixels.num_images:
        return f"{size:>10}{star}  no readable image"
    levels = "".join(f"{level:5.0f}" for level in summary.pixels.mean_colour)
    return f"{size:>10}{star}{levels}{summary.pixels.mean_gray:6.0f}"


def _most_common_size(summary: ClassSummary) -> str | None:
    if not summary.sizes:
        return None
    (width, height), _ = summary.sizes.most_common(1)[0]
    return f"{width}x{height}"


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
