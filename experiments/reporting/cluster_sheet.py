"""A contact sheet of groups of images: framed, as many small groups to a row as fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.reporting.canvas import DPI, Picture, escape, to_pixels

COLUMNS: Final = 8
"""Images a row; a group shows at most so many."""

# All lengths in inches.
_TITLE: Final = 0.4
_CELL: Final = 1.5
_IMAGE: Final = 1.34
_HEADING: Final = 0.26
_LABEL: Final = 0.2
_GAP: Final = 0.12
_MIN_COLUMNS: Final = 4
_MAX_LABEL_LENGTH: Final = 26


@dataclass(frozen=True)
class ImageGroup:
    """One group on the sheet.

    Attributes:
        caption: Stands above it.
        images: At most `COLUMNS`, uint8 (H, W, 3).
        labels: Stands below each image.
        is_marked: Framed in red.
    """

    caption: str
    images: Sequence[Picture]
    labels: Sequence[str]
    is_marked: bool = False


def arrange_in_rows(sizes: Sequence[int], max_rows: int) -> list[list[int]]:
    """Return the indices of the groups in each row; those that find no room are left out.

    A group goes into the first row with room for it, so small ones fill what large ones leave.

    Args:
        sizes: Number of images of each group, at most `COLUMNS`; the most important first.
        max_rows: On the sheet.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index, size in enumerate(sizes):
        row = next((row for row, left in enumerate(room) if left >= size), len(rows))
        if row == max_rows:
            continue
        if row == len(rows):
            rows.append([])
            room.append(COLUMNS)
        rows[row].append(index)
        room[row] -= size
    return rows


def draw_groups(rows: Sequence[Sequence[ImageGroup]], title: str) -> Picture:
    """Return the sheet; without groups, a line of text."""
    used = max((sum(len(group.images) for group in row) for row in rows), default=0)
    shapes = [image.shape for row in rows for group in row for image in group.images]
    # Wide images need lower rows than square ones; tall ones are fitted into a square.
    image_height = _IMAGE * min(1.0, max((shape[0] / shape[1] for shape in shapes), default=1.0))
    row_height = _HEADING + image_height + _LABEL + _GAP
    width, height = _CELL * max(_MIN_COLUMNS, used), _TITLE + row_height * len(rows)
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.text(0.5, 1 - _TITLE / 2 / height, title, ha="center", va="center", fontsize=9)
    for number, row in enumerate(rows):
        top = height - _TITLE - row_height * number
        left = 0.0
        for group in row:
            _draw_group(figure, group, left, top, image_height)
            left += _CELL * len(group.images)
    return to_pixels(figure)


def _draw_group(
    figure: Figure, group: ImageGroup, left: float, top: float, image_height: float
) -> None:
    """Draw a group whose cells begin at (left, top), measured from the lower left corner."""
    width, height = figure.get_size_inches()
    bottom = top - _HEADING - image_height
    frame = Rectangle(
        ((left + 0.03) / width, (bottom - _LABEL - 0.05) / height),
        (_CELL * len(group.images) - 0.06) / width,
        (top - bottom + _LABEL + 0.03) / height,
        transform=figure.transFigure,
        fill=False,
        edgecolor="crimson" if group.is_marked else "0.6",
        linewidth=1.5 if group.is_marked else 0.8,
    )
    figure.add_artist(frame)
    text = escape(group.caption)
    figure.text((left + 0.1) / width, (top - 0.16) / height, text, fontsize=7.5, va="center")
    for column, (image, label) in enumerate(zip(group.images, group.labels, strict=True)):
        x = left + _CELL * column + (_CELL - _IMAGE) / 2
        axes = figure.add_axes((x / width, bottom / height, _IMAGE / width, image_height / height))
        axes.imshow(image)
        axes.axis("off")
        figure.text(
            (x + _IMAGE / 2) / width,
            (bottom - _LABEL / 2) / height,
            escape(label[:_MAX_LABEL_LENGTH]),
            fontsize=6.5,
            ha="center",
            va="center",
        )
