"""Pictures of a run away from home: other sets, and scores against the severity of corruptions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.canvas import DPI, Picture, escape, to_pixels
from experiments.reporting.shift_tables import (
    AS_WRITTEN,
    OWN,
    name_row,
    select_curve,
    select_tests,
)

_COLUMNS: Final = 3
_SIDE: Final = 150
_LEAST_WIDTH: Final = 5.8
"""Inches that the line below the title needs."""
_LETTERS_AN_INCH: Final = 11.5
"""Of the title."""
_METRICS: Final = (("accuracy", "tab:blue"), ("balanced_accuracy", "tab:orange"))


def draw_corruption_curves(
    table: pd.DataFrame, test: str, titles: Mapping[str, str], title: str, *, is_synthetic: bool
) -> Picture:
    """Return accuracy and balanced accuracy against severity, a panel a corruption.

    Bands are 95 % intervals over groups; below each severity stands the amount in its unit.

    Args:
        table: Of `shift_tables.build_shift_table`.
        test: Whose images were corrupted.
        titles: What each corruption is called; its order is that of the panels.
        title: Of the figure.
        is_synthetic: Whether the images are.
    """
    names = [name for name in titles if name in set(table["corruption"])]
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    width = max(_LEAST_WIDTH, 3.3 * columns + 0.4)
    heading = textwrap.wrap(title, int(_LETTERS_AN_INCH * width))
    height = 2.7 * rows + 1 + 0.17 * (len(heading) - 1)
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, name in zip(panels.flat, names, strict=False):
        curve = select_curve(table, test, name)
        for metric, colour in _METRICS:
            _draw_band(axes, curve, metric, colour)
        amounts = ["clean", *(f"{amount:g}" for amount in curve["amount"].iloc[1:])]
        ticks = [f"{s}\n{a}" for s, a in zip(curve["severity"], amounts, strict=True)]
        axes.set_xticks(curve["severity"].tolist(), ticks)
        axes.set_title(titles[name], fontsize=9)
        axes.set_xlabel(str(curve["unit"].iloc[-1]), fontsize=8)
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    for axes in panels.flat[len(names) :]:
        axes.axis("off")
    first = select_curve(table, test, names[0]).iloc[0]
    counts = (
        f"n = {first['images']} images in {first['groups']} groups; bands: 95 % intervals over "
        "groups"
    )
    figure.suptitle(escape("\n".join([*heading, counts])), fontsize=10)
    figure.supylabel("score", fontsize=9)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2)
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_test_scores(table: pd.DataFrame, title: str, *, is_synthetic: bool) -> Picture:
    """Return accuracy and balanced accuracy of each test, with and without restriction.

    Args:
        table: Of `shift_tables.build_shift_table`.
        title: Of the figure.
        is_synthetic: Whether the images are.
    """
    rows = select_tests(table)
    names = [f"{_name(row)}\nn = {row['images']}, {row['groups']} groups" for row in rows]
    figure = Figure(figsize=(9, 0.62 * len(rows) + 1.8), dpi=DPI, layout="constrained")
    figure.suptitle(escape(title), fontsize=10)
    places = np.arange(len(rows))
    panels = figure.subplots(1, len(_METRICS), sharey=True)
    for axes, (metric, _) in zip(panels, _METRICS, strict=True):
        for prefix, shift, colour, label in (
            ("", -0.13, "tab:blue", "any of the run's classes"),
            ("restricted_", 0.13, "tab:orange", "only classes that the test holds"),
        ):
            value = np.array([row[prefix + metric] for row in rows])
            low = np.array([row[f"{prefix}{metric}_low"] for row in rows])
            high = np.array([row[f"{prefix}{metric}_high"] for row in rows])
            # A single group has no interval.
            bars = np.nan_to_num([value - low, high - value]).clip(min=0)
            axes.errorbar(
                value, places + shift, xerr=bars, fmt="o", markersize=4, capsize=2,
                color=colour, label=label,
            )  # fmt: skip
        axes.set_xlim(0, 1.02)
        axes.set_xlabel(f"{metric.replace('_', ' ')}, 95 % intervals over groups", fontsize=8)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelsize=8)
    panels[0].set_yticks(places, [escape(name) for name in names])
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2)
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_corruption_sheet(
    images: Mapping[str, Sequence[Picture]], captions: Mapping[str, str], *, is_synthetic: bool
) -> Picture:
    """Return one image under each corruption, a row each, from clean to severity 5.

    Args:
        images: Of each corruption, by severity from 0 on.
        captions: What each corruption is called.
        is_synthetic: Whether the image is.
    """
    clean = next(iter(images.values()))[0]
    columns = max(len(row) for row in images.values())
    height = _SIDE * min(clean.shape[0] / clean.shape[1], 2) / DPI
    figure = Figure(
        figsize=(_SIDE / DPI * columns + 0.4, height * len(images) + 0.4),
        dpi=DPI,
        layout="constrained",
    )
    panels = figure.subplots(len(images), columns, squeeze=False)
    for axes, severity in zip(panels[0], range(columns), strict=True):
        axes.set_title(f"severity {severity}" if severity else "clean", fontsize=8)
    for row, (name, pictures) in zip(panels, images.items(), strict=True):
        row[0].set_ylabel(captions[name], fontsize=8)
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
    return to_pixels(figure, is_synthetic=is_synthetic)


def _draw_band(axes: Axes, curve: pd.DataFrame, metric: str, colour: str) -> None:
    label = metric.replace("_", " ")
    axes.plot(curve["severity"], curve[metric], "o-", color=colour, markersize=3, label=label)
    axes.fill_between(
        curve["severity"], curve[f"{metric}_low"], curve[f"{metric}_high"], color=colour, alpha=0.2
    )


def _name(row: Mapping[str, Any]) -> str:
    is_reference = row["test"] == OWN and row["scope"] != AS_WRITTEN
    return f"own, classes of {row['scope']}" if is_reference else name_row(row)
