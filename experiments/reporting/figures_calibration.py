"""Reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.calibration import ReliabilityBin
from experiments.reporting.calibration_tables import Calibration
from experiments.reporting.canvas import DPI, Picture, escape, to_pixels

_COLOUR: Final = "tab:blue"


def draw_reliability(found: Calibration, title: str) -> Picture:
    """Return reliability before and after temperature scaling, with the images in each bin.

    Above: share named rightly against the mean probability of the named class, 95 % intervals over
    groups; on the diagonal a model is calibrated. Below: how many images each bin holds.

    Args:
        found: Of a run.
        title: Of the figure.
    """
    figure = Figure(figsize=(9.2, 5.9), dpi=DPI, layout="constrained")
    some = found.before["brier"]
    figure.suptitle(
        f"{escape(title)}\nn = {some.num_images} images in {some.num_groups} groups; bars: 95 % "
        "intervals over groups",
        fontsize=10,
    )
    panels = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1.15))
    for column, name, bins, scores in (
        (0, "as the model gives them", found.bins_before, found.before),
        (1, f"temperature {found.temperature.value:.3g}", found.bins_after, found.after),
    ):
        error = scores["expected_calibration_error"]
        interval = f" [{error.low:.3f}, {error.high:.3f}]" if error.num_groups > 1 else ""
        panels[0, column].set_title(f"{name}\nECE {error.value:.3f}{interval}", fontsize=9.5)
        _draw_bins(panels[0, column], bins)
        _draw_counts(panels[1, column], bins)
    panels[0, 0].set_ylabel("share named rightly")
    panels[1, 0].set_ylabel("images")
    panels[0, 0].legend(fontsize=8, loc="upper left")
    return to_pixels(figure, is_synthetic=found.run.is_synthetic)


def _draw_bins(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    held = [part for part in bins if part.accuracy.num_images]
    values = np.array([part.accuracy.value for part in held])
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1, label="calibrated")
    axes.errorbar(
        [part.confidence for part in held],
        values,
        yerr=[
            np.nan_to_num(values - [part.accuracy.low for part in held]).clip(min=0),
            np.nan_to_num([part.accuracy.high for part in held] - values).clip(min=0),
        ],
        color=_COLOUR,
        marker="o",
        markersize=4,
        linewidth=1,
        elinewidth=1,
        capsize=2.5,
        label="this model",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)


def _draw_counts(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    counts = [part.accuracy.num_images for part in bins]
    centres = [(part.low + part.high) / 2 for part in bins]
    axes.bar(centres, counts, width=0.9 / len(bins), color=_COLOUR, alpha=0.6)
    for centre, count in zip(centres, counts, strict=True):
        if count:
            axes.annotate(
                str(count),
                (centre, count),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.2 * max(counts)))
    axes.set_xlabel("probability of the named class")
    axes.grid(alpha=0.3, axis="y")
