"""The table of all tiles, ``tiles.csv``, with the split of each, and ``tiles.json`` beside it."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.splits import draw_parts
from datasets.taxonomy import SPLITS, TILE_CLASSES, Split
from datasets.wsi.store import TILES_FOLDER, UNLABELLED, SlideFacts, TileTable, read_table

TILES_NAME: Final = "tiles.csv"
TILES_INFO_NAME: Final = "tiles.json"
TILE_COLUMNS: Final = (
    "sample_id", "path", "slide", "x", "y", "level0_size", "label", "tumor_fraction",
    "tissue_fraction", "split", "group", "sha256",
)  # fmt: skip

log = logging.getLogger(__name__)
Slides = Sequence[tuple[SlideFacts, TileTable]]


def write_tile_manifest(
    out: Path, fractions: Mapping[Split, float], seed: int, info: Mapping[str, Any]
) -> Path:
    """Write ``tiles.csv`` and ``tiles.json`` of all finished slides below `out`.

    The splits are a function of the finished slides, `fractions` and `seed`. Where there are too
    few slides for them the column ``split`` is empty and a warning says so, as where no tile has a
    label.

    Args:
        out: Folder in which the slides were cut.
        fractions: Share of each split of the groups whose split is open.
        seed: Of the draw.
        info: Further entries of ``tiles.json``.

    Raises:
        DatasetError: A tile file is broken.
    """
    slides = _drop_copies([read_table(path) for path in sorted((out / TILES_FOLDER).glob("*.h5"))])
    split_of_group: Mapping[str, str] = {}
    labels = Counter(label for _, table in slides for label in table.labels)
    if labels and set(labels) == {UNLABELLED}:
        log.warning("No training with these tiles: %s", explain_unlabelled(labels.total()))
    elif not labels.keys().isdisjoint(TILE_CLASSES):
        try:
            split_of_group = draw_slide_splits(slides, fractions, seed)
        except DatasetError as error:
            log.warning("No splits yet: %s", error)
    path = out / TILES_NAME
    with write_whole(out / TILES_INFO_NAME) as temporary:
        content = {"classes": list(TILE_CLASSES), "slides": len(slides), "seed": seed, **info}
        content["synthetic"] = any(facts.is_synthetic for facts, _ in slides)
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    with write_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TILE_COLUMNS)
        for facts, table in slides:
            writer.writerows(_format_rows(facts, table, split_of_group.get(facts.group, "")))
    return path


def draw_slide_splits(
    slides: Slides, fractions: Mapping[Split, float], seed: int
) -> dict[str, Split]:
    """Return the split of each group; no group is in two, and each class is in all.

    `fractions` are shares of the groups of each class, whatever their number of tiles.
    A group with a slide that its authors put in a split is there; if there is an official test,
    the others are divided into train and val only.

    Raises:
        DatasetError: A class has fewer groups than there are splits to draw.
    """
    official: dict[str, Split] = {}
    for facts, _ in slides:
        for split in SPLITS:
            if facts.official_split == split:
                official[facts.group] = split
    open_splits = [split for split in SPLITS if split not in official.values()]
    total = sum(fractions[split] for split in open_splits)
    shares = {split: fractions[split] / total for split in open_splits}
    # Patients are counted and not tiles: one with ten times the tiles of another must not fill a
    # split alone, or leave none for a small one.
    pairs = {
        (facts.group, label)
        for facts, table in slides
        if facts.group not in official
        for label in table.labels
        if label in TILE_CLASSES
    }
    groups, labels = [pair[0] for pair in sorted(pairs)], [pair[1] for pair in sorted(pairs)]
    _require_groups(labels, groups, open_splits)
    drawn = draw_parts(labels, groups, shares, seed)
    return {**dict(zip(groups, drawn, strict=True)), **official}


def _require_groups(
    labels: Sequence[str], groups: Sequence[str], open_splits: Sequence[Split]
) -> None:
    groups_of: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        groups_of[label].add(group)
    numbers = {label: len(groups_of[label]) for label in TILE_CLASSES}
    if min(numbers.values()) < len(open_splits):
        found = ", ".join(f"{label} tiles on slides of {n}" for label, n in numbers.items())
        raise DatasetError(
            f"{', '.join(open_splits)} need {len(open_splits)} patients each with tiles of both "
            f"classes to draw from; there are {found}. Cut more slides into the same --out."
        )


def explain_unlabelled(number: int) -> str:
    """Return why so many tiles, all that there are, have no label, and what to do."""
    return (
        f"{number} tiles are unlabelled: no NAME.xml was found for their slides. Pass "
        "tile_slides.py --annotations DIR, the folder of these files; it cuts the slides again."
    )


def hash_origin(facts: SlideFacts, x: int, y: int) -> str:
    """Return the hash of where a tile comes from: slide file, place, size.

    The same pixels of the same slide have the same hash whatever the slide is called; blank tiles
    of two slides do not.

    Args:
        facts: Of the slide.
        x: Left edge in level-0 pixels.
        y: Upper edge in level-0 pixels.
    """
    origin = (facts.slide_sha256, facts.level, facts.level0_size, facts.tile_size, x, y)
    return hashlib.sha256(repr(origin).encode()).hexdigest()


def _drop_copies(slides: Slides) -> Slides:
    """Return the slides without those whose file is that of an earlier one."""
    first: dict[str, str] = {}
    kept = []
    for facts, table in slides:
        name = first.setdefault(facts.slide_sha256, facts.slide_id)
        if name == facts.slide_id:
            kept.append((facts, table))
        else:
            log.warning("Left out: %s is the same file as %s.", facts.slide_id, name)
    return kept


def _format_rows(facts: SlideFacts, table: TileTable, split: str) -> list[tuple[str | int, ...]]:
    """Return rows in the order of `TILE_COLUMNS`."""
    rows: list[tuple[str | int, ...]] = []
    for index, sample_id in enumerate(table.sample_ids):
        x, y = table.corners[index].tolist()
        tumor = table.tumor_fractions[index]
        rows.append(
            (
                sample_id,
                f"{TILES_FOLDER}/{facts.slide_id}.h5",
                facts.slide_id,
                x,
                y,
                facts.level0_size,
                table.labels[index],
                "" if np.isnan(tumor) else f"{tumor:.6f}",
                f"{table.tissue_fractions[index]:.4f}",
                split,
                facts.group,
                hash_origin(facts, x, y),
            )
        )
    return rows
