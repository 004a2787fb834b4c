"""Scores against the share of labels: the figure, and tables of repeated runs as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.canvas import DPI, Picture, escape, to_pixels
from experiments.reporting.repeats import Cell
from experiments.reporting.statistics import METRICS
from experiments.reporting.tables import SYNTHETIC_NOTE

_WIDTH: Final = 80
_COLOURS: Final = colormaps["tab10"].colors  # type: ignore[attr-defined]
_MARKERS: Final = "os^Dv"
_LEGEND_LINE: Final = 0.2
_SPREAD: Final = 0.4
_MAX_STEP: Final = 0.07
_MAX_NAME: Final = 60


def draw_label_curve(table: pd.DataFrame) -> Picture:
    """Return accuracy, balanced accuracy and macro F1 against the share of labels.

    Points are means over draws and seeds, bars their 95 % intervals over draws, seeds and groups,
    small dots the single runs. Models are moved sideways a little, so that their bars can be told
    apart.

    Args:
        table: As `repeat_statistics.build_repeat_table` gives it, of one data set.
    """
    models = list(dict.fromkeys(table["model"]))
    size = (10.5, 4.3 + _LEGEND_LINE * len(models))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        for number, model in enumerate(models):
            step = min(_MAX_STEP, _SPREAD / len(models))
            shift = 1 + step * (number - (len(models) - 1) / 2)
            _draw_model(axes, table[table["model"] == model], metric, number, shift)
        axes.set_xscale("log")
        percents = sorted(set(table["label_percent"]))
        axes.set_xticks(percents, [str(percent) for percent in percents])
        axes.minorticks_off()
        axes.set_xlim(percents[0] / 1.6, percents[-1] * 1.6)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("training labels used (%)")
        axes.set_ylabel(f"test {_title(metric)}")
        axes.yaxis.set_tick_params(labelleft=True)
        axes.grid(alpha=0.3)
    some = table.iloc[0]
    figure.suptitle(
        f"{escape(str(some['data']))}: means of {_range_of(table['runs'])} runs a point\n"
        f"n = {_range_of(table['test_images'])} test images in {_range_of(table['test_groups'])} "
        "groups; bars: 95 % intervals over draws, seeds and groups; dots: runs",
        fontsize=10,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=1)
    return to_pixels(figure, is_synthetic=bool(table["synthetic"].any()))


def format_repeats(table: pd.DataFrame) -> str:
    """Return the table of `repeat_statistics.build_repeat_table` as text of 80 columns."""
    lines = [SYNTHETIC_NOTE] if table["synthetic"].any() else []
    lines += textwrap.wrap(
        "Means over draws of the means over seeds ± standard deviation over all runs; in brackets "
        "95 % intervals of the mean, bootstrapped on two levels: draws and their seeds, and groups "
        "of test images. With few runs or one draw they do not hold what was not varied.",
        _WIDTH,
    )
    for percent, rows in table.groupby("label_percent"):
        lines += ["", f"{percent} % of the labels"]
        for row in rows.to_dict("records"):
            lines.append(
                f"  {row['model'][-_MAX_NAME:]}: {row['draws']} draw(s), {row['runs']} run(s); "
                f"n = {row['test_images']}"
            )
            lines += [f"    {_title(name):18} {_format_score(row, name)}" for name in METRICS]
    return "\n".join(lines)


def format_training_images(cells: Sequence[Cell]) -> str:
    """Return a line a share of labels at which models learnt from different numbers of images."""
    lines = []
    for percent in sorted({cell.label_percent for cell in cells}):
        by_draw: dict[int, set[int]] = {}
        by_model: dict[str, set[int]] = {}
        for cell in cells:
            for (draw, _), repeat in cell.repeats.items():
                number = repeat.run.num_train_images
                if cell.label_percent == percent and number is not None:
                    by_draw.setdefault(draw, set()).add(number)
                    by_model.setdefault(cell.model, set()).add(number)
        if any(len(numbers) > 1 for numbers in by_draw.values()):
            told = ", ".join(
                f"{model[-_MAX_NAME:]} from {_range_of(pd.Series(sorted(numbers)))}"
                for model, numbers in by_model.items()
            )
            lines += textwrap.wrap(
                f"With {percent} % of the labels the models learnt from different numbers of "
                f"training images: {told}.",
                _WIDTH,
            )
    return "\n".join(lines)


def format_tests(table: pd.DataFrame) -> str:
    """Return the table of `repeat_tests.build_test_table` as text of 80 columns."""
    if table.empty:
        return "No two models share several draws, or one with a seed: nothing to test."
    lines = textwrap.wrap(
        f"Paired differences, first less second. p by Holm over {len(table) // len(METRICS)} "
        "comparison(s) in each metric. t, W: paired t-test and Wilcoxon's over draws (seeds of a "
        "draw averaged: they share its images), or with one draw over its seeds, and then for that "
        "draw only; Wilcoxon needs six to reach 0.05. NB: corrected for overlapping draws (Nadeau "
        "and Bengio). The bound: the difference is smaller, either way, with 95 % confidence.",
        _WIDTH,
    )
    keys = ["label_percent", "first", "second"]
    for (percent, first, second), rows in table.groupby(keys, sort=False):
        some = rows.iloc[0]
        lines += ["", *textwrap.wrap(f"{first} less {second}, {percent} % of the labels", _WIDTH)]
        lines.append(
            f"  {some['first_runs']} and {some['second_runs']} run(s), "
            f"{some['units']} {some['unit']}(s)"
        )
        for row in rows.to_dict("records"):
            interval = "" if pd.isna(row["low"]) else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
            spread = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.3f}"
            lines.append(f"  {_title(row['metric']):18} {row['mean']:+.3f}{spread}{interval}")
            lines.append(
                f"    t {_p(row['t_p_holm'])}  NB {_p(row['corrected_t_p_holm'])}  "
                f"W {_p(row['wilcoxon_p_holm'])}  {_format_bound(row)}"
            )
    return "\n".join(lines)


def _draw_model(axes: Axes, rows: pd.DataFrame, metric: str, number: int, shift: float) -> None:
    rows = rows.sort_values("label_percent")
    places, value = rows["label_percent"] * shift, rows[metric]
    colour = _COLOURS[number % len(_COLOURS)]
    axes.errorbar(
        places,
        value,
        yerr=[
            np.nan_to_num(value - rows[f"{metric}_low"]).clip(min=0),
            np.nan_to_num(rows[f"{metric}_high"] - value).clip(min=0),
        ],
        color=colour,
        marker=_MARKERS[number // len(_COLOURS) % len(_MARKERS)],
        markersize=5,
        linewidth=1.2,
        capsize=3,
        label=escape(str(rows["model"].iloc[0])[-_MAX_NAME:]),
    )
    for place, text in zip(places, rows[f"{metric}_values"], strict=True):
        values = [float(part) for part in str(text).split()]
        axes.plot([place] * len(values), values, ".", color=colour, alpha=0.45, markersize=4)


def _format_score(row: dict[str, Any], name: str) -> str:
    spread = "" if pd.isna(row[f"{name}_sd"]) else f" ± {row[f'{name}_sd']:.3f}"
    if pd.isna(row[f"{name}_low"]):
        return f"{row[name]:.3f}{spread}"
    return f"{row[name]:.3f}{spread} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _format_bound(row: dict[str, Any]) -> str:
    if pd.isna(row["bound"]) or row["bound"] >= 1:
        return "bound: none"
    return f"bound {row['bound']:.3f} ({row['bound_by']})"


def _range_of(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _title(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1")


def _p(value: float) -> str:
    if pd.isna(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
