"""Pictures of single predictions: heat maps over images, and sheets of feature maps."""

# C channels, H W height width

from __future__ import annotations

from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.reporting.canvas import DPI, Picture, escape, to_pixels

MAX_MAPS: Final = 64
"""Maps on a sheet; of a layer with more, those that vary most."""

_MAX_SIDE: Final = 600
_CELL: Final = 64
_COLUMNS: Final = 8
_STRONGEST_TINT: Final = 0.65


def draw_heatmap(
    image: Picture,
    heat: NDArray[np.float32],
    caption: str,
    subtitle: str,
    *,
    is_synthetic: bool = False,
) -> Picture:
    """Return an image (H, W, 3) beside itself under a heat map (H, W) in [0, 1]."""
    if not heat.any():
        subtitle += ": nothing in this map speaks for the class"
    step = -(-max(heat.shape) // _MAX_SIDE)
    figure = Figure(figsize=(6.6, 3.9), dpi=DPI, layout="constrained")
    figure.suptitle(escape(caption), fontsize=12)
    figure.supxlabel(escape(subtitle), fontsize=8)
    plain, tinted = figure.subplots(1, 2)
    for axes in (plain, tinted):
        axes.imshow(image[::step, ::step])
        axes.axis("off")
    shown = heat[::step, ::step]
    tinted.imshow(shown, cmap="turbo", vmin=0, vmax=1, alpha=_STRONGEST_TINT * np.sqrt(shown))
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_feature_maps(
    image: Picture,
    maps: NDArray[np.float32],
    caption: str,
    layer: str,
    *,
    is_synthetic: bool = False,
) -> Picture:
    """Return a sheet of feature maps (C, H, W), each from its least to its largest value."""
    number = min(len(maps), MAX_MAPS)
    kept = np.sort(np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:number])
    rows = -(-number // _COLUMNS)
    sheet = np.full((rows * _CELL, _COLUMNS * _CELL), np.nan, dtype=np.float32)
    figure = Figure(figsize=(11, max(rows, 3) + 0.5), dpi=DPI, layout="constrained")
    choice = "" if number == len(maps) else f", the {number} that vary most"
    size = f"{len(maps)} maps of {maps.shape[1]}x{maps.shape[2]}"
    figure.suptitle(escape(f"{layer}: {size}{choice}, each on a scale of its own"), fontsize=10)
    left, right = figure.subplots(1, 2, width_ratios=(1, 3))
    left.imshow(image[:: -(-len(image) // _MAX_SIDE), :: -(-len(image) // _MAX_SIDE)])
    left.set_title(escape(caption), fontsize=10)
    for place, channel in enumerate(kept):
        top, start = place // _COLUMNS * _CELL, place % _COLUMNS * _CELL
        inner = _fit_cell(maps[channel])
        sheet[top : top + inner.shape[0], start : start + inner.shape[1]] = inner
        right.text(
            start + 2, top + 2, str(channel), fontsize=6, color="white", va="top",
            bbox={"facecolor": "black", "alpha": 0.5, "pad": 0.8, "linewidth": 0},
        )  # fmt: skip
    right.imshow(sheet, cmap=mpl.colormaps["viridis"].with_extremes(bad="white"), vmin=0, vmax=1)
    for axes in (left, right):
        axes.axis("off")
    return to_pixels(figure, is_synthetic=is_synthetic)


def _fit_cell(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map scaled to [0, 1], at the size of a cell of the sheet without its gap."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(high - low, 1e-12)
    side = _CELL - 2
    longest = max(scaled.shape)
    height, width = (max(1, side * length // longest) for length in scaled.shape)
    rows = np.arange(height) * scaled.shape[0] // height
    columns = np.arange(width) * scaled.shape[1] // width
    cell: NDArray[np.float32] = scaled[np.ix_(rows, columns)].astype(np.float32)
    return cell
