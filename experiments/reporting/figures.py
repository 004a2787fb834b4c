"""Pictures for TensorBoard and reports, as uint8 (H, W, 3)."""

# K classes, N images

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.reporting.canvas import DPI as _DPI
from experiments.reporting.canvas import Picture
from experiments.reporting.canvas import to_pixels as _to_pixels

_GAP = 4
_MAX_CLASSES_WITH_NUMBERS = 20


def draw_confusion_matrix(
    confusion: NDArray[np.int64], classes: Sequence[str], title: str
) -> Picture:
    """Return a confusion matrix (K, K), rows true: counts, coloured by the share of the row."""
    size = 2.6 + 0.62 * len(classes)
    figure = Figure(figsize=(size, size), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{title}\nn = {int(confusion.sum())}", fontsize=10)
    if len(classes) <= _MAX_CLASSES_WITH_NUMBERS:
        for row, column in np.ndindex(*confusion.shape):
            colour = "white" if share[row, column] > 0.55 else "black"
            text = str(int(confusion[row, column]))
            axes.text(column, row, text, ha="center", va="center", color=colour)
    return _to_pixels(figure)


def draw_captioned_images(
    images: Sequence[Picture], captions: Sequence[str], title: str, columns: int = 6
) -> Picture:
    """Return images (S, S, 3) in a grid, each under its caption; without images, a line of text."""
    if not images:
        figure = Figure(figsize=(5, 0.8), dpi=_DPI)
        figure.text(0.5, 0.5, f"{title}: none", ha="center", va="center")
        return _to_pixels(figure)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.75 * columns, 2.2 * rows + 0.4), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=10)
    figure.subplots(rows, columns, subplot_kw={"xticks": [], "yticks": [], "frame_on": False})
    for axes, image, caption in zip(figure.axes, images, captions, strict=False):
        axes.imshow(image)
        axes.set_title(caption, fontsize=7)
    return _to_pixels(figure)


def draw_image_pairs(above: Sequence[Picture], below: Sequence[Picture]) -> Picture:
    """Return two rows of images (S, S, 3), e.g. originals above reconstructions, on white."""
    gap = ((_GAP, _GAP), (_GAP, _GAP), (0, 0))
    rows = [
        np.hstack([np.pad(image, gap, constant_values=255) for image in row])
        for row in (above, below)
    ]
    return np.vstack(rows)


def draw_learning_curve(table: pd.DataFrame, title: str) -> Figure:
    """Return accuracy and balanced accuracy over the share of labels, a line an experiment.

    Points are means over seeds, hollow where there is one seed only, bars their 95 % intervals over
    groups, small dots the single seeds.

    Args:
        table: As `tables.build_result_table` returns it. Without the scores by seed, which tables
            of earlier runs lack, there are no dots.
        title: Of the figure.
    """
    figure = Figure(figsize=(8, 3.4), dpi=_DPI, layout="constrained")
    metrics = ("accuracy", "balanced_accuracy")
    has_values = all(f"{metric}_values" in table for metric in metrics)
    legend = "bars: 95 % intervals over test images"
    legend += "; dots: seeds" if has_values else ""
    legend += "; hollow: one seed only" if (table["seeds"] == 1).any() else ""
    figure.suptitle(f"{title}\n{legend}", fontsize=10)
    for axes, metric in zip(figure.subplots(1, 2, sharey=True), metrics, strict=True):
        for (experiment, epochs), rows in table.groupby(["experiment", "epochs"]):
            _draw_scores(axes, rows, metric, f"{experiment}, {epochs} epochs", has_values)
        axes.set_xscale("log")
        axes.set_xticks([1, 10, 50, 100], ["1", "10", "50", "100"])
        axes.minorticks_off()
        axes.set_xlabel("training labels used (%)")
        axes.set_ylabel(f"test {metric.replace('_', ' ')}")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    return figure


def _draw_scores(axes: Axes, rows: pd.DataFrame, metric: str, label: str, has_values: bool) -> None:
    value = rows[metric]
    below, above = value - rows[f"{metric}_low"], rows[f"{metric}_high"] - value
    bars = axes.errorbar(
        rows["label_percent"], value, yerr=[below, above], marker="o", capsize=3, label=label
    )
    colour = bars.lines[0].get_color()
    single = rows[rows["seeds"] == 1]
    axes.plot(
        single["label_percent"], single[metric], "o", color=colour, markerfacecolor="white",
        zorder=bars.lines[0].get_zorder() + 1,
    )  # fmt: skip
    if has_values:
        for percent, text in zip(rows["label_percent"], rows[f"{metric}_values"], strict=True):
            values = [float(part) for part in str(text).split()]
            axes.plot([percent] * len(values), values, ".", color=colour, alpha=0.45, markersize=4)
