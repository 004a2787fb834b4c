"""Pictures of cell masks: ratios of areas by class, outlines on the images."""

# K classes

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.canvas import DPI, Picture, fit_label, to_pixels

_JITTER = 0.16
_CYTOPLASM_EDGE, _NUCLEUS_EDGE = 0.5, 1.5
"""Contour levels between the regions 0 (background), 1 (cytoplasm) and 2 (nucleus)."""


def draw_nucleus_ratios(cells: pd.DataFrame, *, is_synthetic: bool) -> Picture:
    """Return nucleus to cytoplasm, and nucleus to cell, a dot a cell and a box a class.

    Args:
        cells: A row a cell with ``class``, ``nucleus_to_cytoplasm`` and ``nucleus_fraction``.
            Cells without nucleus or cytoplasm have no ratio to show and are counted in the title.
        is_synthetic: Whether the picture is stamped.
    """
    ratio = cells["nucleus_to_cytoplasm"]
    shown = cells[np.isfinite(ratio) & (ratio > 0)]
    names = sorted(shown["class"].unique())
    figure = Figure(figsize=(9, 4.2), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_boxes(left, shown, names, "nucleus_to_cytoplasm", "nucleus area / cytoplasm area")
    left.set_yscale("log")
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    left.tick_params(which="both", labelsize=8)
    _draw_boxes(right, shown, names, "nucleus_fraction", "nucleus area / cell area")
    right.set_ylim(0, 1)
    left_out = len(cells) - len(shown)
    note = f"; {left_out} without nucleus or cytoplasm left out" if left_out else ""
    figure.suptitle(f"Nucleus and cytoplasm by class, n = {len(shown)} cells{note}", fontsize=10)
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_mask_outlines(
    rows: Mapping[str, Sequence[tuple[Picture, Picture]]], title: str, *, is_synthetic: bool
) -> Picture:
    """Return images with the outlines of cell (yellow) and nucleus (cyan), a row a class.

    Args:
        rows: Pairs of an image (H, W, 3) and its regions (H, W), 0, 1 and 2, by class.
        title: Of the picture.
        is_synthetic: Whether the picture is stamped.
    """
    columns = max([3, *map(len, rows.values())])
    figure = Figure(
        figsize=(1.1 * columns + 1.1, 1.15 * max(1, len(rows)) + 0.6), dpi=DPI, layout="constrained"
    )
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for line, (name, pairs) in zip(grid, rows.items(), strict=False):
        line[0].set_ylabel(fit_label(name), rotation=0, ha="right", va="center", fontsize=8)
        if not pairs:
            line[0].text(0.5, 0.5, "none", ha="center", va="center", fontsize=8)
        for axes, (image, regions) in zip(line, pairs, strict=False):
            axes.imshow(image)
            for edge, colour in ((_CYTOPLASM_EDGE, "yellow"), (_NUCLEUS_EDGE, "cyan")):
                if regions.min() < edge < regions.max():
                    axes.contour(regions, [edge], colors=colour, linewidths=0.9)
    return to_pixels(figure, is_synthetic=is_synthetic)


def _draw_boxes(
    axes: Axes, cells: pd.DataFrame, names: Sequence[str], column: str, label: str
) -> None:
    rng = np.random.default_rng(0)
    for place, name in enumerate(names):
        values = cells.loc[cells["class"] == name, column].to_numpy()
        axes.boxplot(
            values,
            positions=[place],
            widths=0.55,
            showfliers=False,
            medianprops={"color": "tab:red", "linewidth": 1.4},
        )
        spread = rng.uniform(-_JITTER, _JITTER, len(values))
        axes.scatter(place + spread, values, s=7, alpha=0.4, color="tab:blue", linewidths=0)
    counts = cells["class"].value_counts()
    axes.set_xticks(
        range(len(names)), [f"{name}\nn = {counts[name]}" for name in names], fontsize=7
    )
    axes.set_ylabel(label)
    axes.grid(axis="y", alpha=0.3)
