"""A picture of a slide and its tiles, for a person to check what was cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from datasets.files import write_whole
from datasets.wsi.store import IGNORED, UNLABELLED, SlideFacts, TileTable
from datasets.wsi.tissue import OVERVIEW_SIDE, TissueMask

TILE_COLOURS: Final = {
    "tumor": (213, 94, 0),
    "normal": (0, 114, 178),
    IGNORED: (120, 120, 120),
    UNLABELLED: (0, 158, 115),
}
_LESION_COLOUR: Final = (255, 225, 0)
_GAP: Final = 12
_HEADER: Final = 44
_LETTERS: Final = 15
_NARROWEST: Final = 640
_SMALLEST_OUTLINED: Final = 8
_PNG_COMPRESSION: Final = 1
"""Of 9: an overview is half as large again as at the default and written five times as fast."""


def draw_overview(
    path: Path,
    tissue: TissueMask,
    rings: Sequence[NDArray[np.float64]],
    table: TileTable,
    facts: SlideFacts,
) -> None:
    """Write a PNG of two panels: the slide with the lesions, and tissue with grid and lesions.

    Args:
        path: Of the PNG.
        tissue: With the thumbnail.
        rings: Borders of the lesions, (N, 2) arrays of x and y in level-0 pixels.
        table: The tiles that were kept.
        facts: Of the slide.

    Raises:
        OSError: The file cannot be written.
    """
    shrink = max(1.0, max(tissue.thumbnail.size) / OVERVIEW_SIDE)
    size = (
        max(1, round(tissue.thumbnail.width / shrink)),
        max(1, round(tissue.thumbnail.height / shrink)),
    )
    slide = tissue.thumbnail.resize(size, Image.Resampling.BOX)
    inside = Image.fromarray(tissue.inside).convert("L").resize(size, Image.Resampling.BOX)
    pixel = np.array(tissue.scale) * np.array(tissue.thumbnail.size) / np.array(size)
    grid = Image.composite(slide, Image.new("RGB", size, (225, 225, 225)), inside)
    _draw_tiles(grid, table, facts.level0_size, pixel)
    for panel in (slide, grid):
        _draw_rings(panel, rings, pixel)
    width = max(_NARROWEST, 2 * size[0] + _GAP)
    sheet = Image.new("RGB", (width, size[1] + _HEADER), (255, 255, 255))
    sheet.paste(slide, (0, _HEADER))
    sheet.paste(grid, (size[0] + _GAP, _HEADER))
    _write_header(sheet, table, facts)
    with write_whole(path) as temporary:
        sheet.save(temporary, "PNG", compress_level=_PNG_COMPRESSION)


def _draw_tiles(
    panel: Image.Image, table: TileTable, level0_size: int, pixel: NDArray[np.float64]
) -> None:
    draw = ImageDraw.Draw(panel, "RGBA")
    upper_left = table.corners / pixel
    lower_right = (table.corners + level0_size) / pixel - 1
    for (left, top), (right, bottom), label in zip(
        upper_left.tolist(), lower_right.tolist(), table.labels, strict=True
    ):
        colour = TILE_COLOURS[label]
        box = (left, top, max(left, right), max(top, bottom))
        # Outlines of small tiles would hide the tissue.
        line = (*colour, 200) if right - left >= _SMALLEST_OUTLINED else None
        draw.rectangle(box, fill=(*colour, 70 if line else 110), outline=line)


def _draw_rings(
    panel: Image.Image, rings: Sequence[NDArray[np.float64]], pixel: NDArray[np.float64]
) -> None:
    draw = ImageDraw.Draw(panel)
    for ring in rings:
        draw.line([tuple(point) for point in (ring / pixel).tolist()], _LESION_COLOUR)


def _write_header(sheet: Image.Image, table: TileTable, facts: SlideFacts) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_LETTERS)
    resolution = f"{facts.mpp:.3g} mpp" if facts.mpp else "mpp unknown"
    title = (
        f"{facts.slide_id}: {len(table.labels)} tiles of {facts.tile_size} px, level "
        f"{facts.level}, {resolution}"
    )
    draw.text((6, 2), title, fill=(0, 0, 0), font=font)
    counts = Counter(table.labels)
    x = 6.0
    for label, colour in TILE_COLOURS.items():
        if counts[label]:
            text = f"{label} {counts[label]}   "
            draw.text((x, 22), text, fill=colour, font=font)
            x += draw.textlength(text, font=font)
