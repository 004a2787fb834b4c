"""The report's curves: learning, training, ROC, embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.reporting.calibration import find_bins, read_forecast
from experiments.reporting.canvas import Picture, escape, fit_label, to_pixels
from experiments.reporting.figures_curves import number_epochs
from experiments.reporting.html.entries import Entry, TestSet
from experiments.reporting.html.scores import ALL_CLASSES
from experiments.reporting.prediction_tables import show
from experiments.reporting.ranking import find_macro_roc

MAX_CURVES: Final = 8
"""In one ROC figure; with more, lines cannot be told apart."""

CURVE_METRICS: Final = ("accuracy", "balanced_accuracy")
TRAINING_METRICS: Final = ("loss", "balanced_accuracy")

_DPI: Final = 150
_COLOURS: Final = colormaps["tab10"].colors  # type: ignore[attr-defined]
_MANY_COLOURS: Final = colormaps["tab20"].colors  # type: ignore[attr-defined]
_DASHES: Final = ("-", "--", ":")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "*")
_MAX_NAME: Final = 48
_LEGEND_LINE: Final = 0.2
_SIDESTEP: Final = 0.035
_GRID: Final = np.linspace(0, 1, 501)


def has_learning_curve(test_set: TestSet) -> bool:
    """Return whether some model was trained with several shares of the labels."""
    curves = {(entry.curve, entry.test) for entry in test_set.entries}
    points = {(entry.curve, entry.test, entry.label_percent) for entry in test_set.entries}
    return len(points) > len(curves)


def draw_learning_curve(test_set: TestSet, results: pd.DataFrame, metric: str) -> Picture:
    """Return a score over the share of labels, a line a model; bars are 95 % intervals.

    Args:
        test_set: The test set.
        results: Of `scores.build_results`.
        metric: Which score.
    """
    entries = {entry.number: entry for entry in test_set.entries}
    table = results[results["scope"] == ALL_CLASSES].copy()
    table["curve"] = [_curve_name(entries[number]) for number in table["number"]]
    names = list(dict.fromkeys(table["curve"]))
    figure = Figure(figsize=(4.8, 3.3 + _LEGEND_LINE * len(names)), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        rows = table[table["curve"] == name].sort_values("label_percent")
        # Side by side, so that bars at the same share can be told apart.
        shift = np.exp(_SIDESTEP * (place - (len(names) - 1) / 2))
        value = rows[metric]
        axes.errorbar(
            rows["label_percent"] * shift,
            value,
            yerr=[value - rows[f"{metric}_low"], rows[f"{metric}_high"] - value],
            marker="o",
            markersize=4,
            capsize=2.5,
            label=_cut(name),
            **_style_of(place),
        )
    percents = sorted(set(table["label_percent"]))
    axes.set_xscale("log")
    axes.set_xticks(percents, [str(percent) for percent in percents])
    axes.minorticks_off()
    axes.set_xlabel("training labels used (%)")
    axes.set_ylabel(f"test {metric.replace('_', ' ')}")
    axes.grid(alpha=0.3)
    _add_legend(figure, axes)
    return to_pixels(figure, is_synthetic=test_set.is_synthetic)


def draw_training(entry: Entry, metric: str) -> Picture:
    """Return ``loss`` or a score by epoch, a line a seed; dots: the models that were kept."""
    figure = Figure(figsize=(4.8, 2.9), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for run in entry.runs:
        frame = number_epochs(run.metrics())
        for split, colour in (("train", _COLOURS[0]), ("val", _COLOURS[1])):
            column = f"{split}/{metric}"
            if column not in frame:
                continue
            known = frame.assign(y=pd.to_numeric(frame[column], errors="coerce"))
            known = known.dropna(subset=["y"])
            axes.plot(known["epoch"], known["y"], color=colour, linewidth=1.2, label=split)
            if split == "val":
                kept = known[known["epoch"] == run.summary.get("best_epoch")]
                axes.plot(kept["epoch"], kept["y"], "o", markersize=5, color=colour)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean loss (nats)" if metric == "loss" else metric.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if unique:
        axes.legend(list(unique.values()), list(unique), fontsize=8)
    return to_pixels(figure, is_synthetic=entry.first.is_synthetic)


def draw_roc(entries: Sequence[Entry], results: pd.DataFrame) -> Picture:
    """Return ROC curves, means over one-vs-rest curves and seeds, with areas and intervals.

    Args:
        entries: Up to `MAX_CURVES`, whose test holds two classes or more.
        results: Of `scores.build_results`, with their areas.
    """
    areas = results[results["scope"] == ALL_CLASSES].set_index("number")
    figure = Figure(
        figsize=(4.8, 4.4 + _LEGEND_LINE * len(entries)), dpi=_DPI, layout="constrained"
    )
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle=":")
    for place, entry in enumerate(entries):
        curves = [find_macro_roc(frame) for frame in entry.frames]
        grid = np.unique(np.concatenate([_GRID, *(x for x, _ in curves)]))
        mean = np.mean([np.interp(grid, x, y) for x, y in curves], axis=0)
        area = areas.loc[entry.number]
        interval = f"[{area['macro_auroc_low']:.3f}, {area['macro_auroc_high']:.3f}]"
        axes.plot(
            np.concatenate([[0.0], grid]),
            np.concatenate([[0.0], mean]),
            label=f"{_cut(entry.title)}: {area['macro_auroc']:.3f} {interval}",
            linewidth=1.4,
            **_style_of(place),
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.set_xlabel("false positive rate (1 - specificity)")
    axes.set_ylabel("true positive rate (sensitivity)")
    _add_legend(figure, axes)
    return to_pixels(figure, is_synthetic=entries[0].first.is_synthetic)


def draw_reliability(entry: Entry, classes: Sequence[str]) -> Picture:
    """Return the reliability diagram of an entry's test, its seeds pooled."""
    forecast = read_forecast(pd.concat(entry.frames), classes, str(entry.first.path))
    held = [part for part in find_bins(forecast) if part.accuracy.num_images]
    values = np.array([part.accuracy.value for part in held])
    low = np.nan_to_num(values - [part.accuracy.low for part in held]).clip(min=0)
    high = np.nan_to_num([part.accuracy.high for part in held] - values).clip(min=0)
    figure = Figure(figsize=(3.6, 3.4), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1)
    axes.errorbar(
        [part.confidence for part in held], values, yerr=[low, high],
        marker="o", markersize=4, linewidth=1, capsize=2.5, color=_COLOURS[0],
    )  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.set_xlabel("probability of the named class")
    axes.set_ylabel("share named rightly")
    return to_pixels(figure, is_synthetic=entry.first.is_synthetic)


def draw_embedding(table: pd.DataFrame, *, is_synthetic: bool) -> Picture:
    """Return a panel a method: a point an image, colour and marker by its label.

    Args:
        table: As `embedding.read_embedding` returns it.
        is_synthetic: Whether the images are.
    """
    methods = list(dict.fromkeys(table["method"]))
    labels = sorted(set(table["label"]))
    colours = _COLOURS if len(labels) <= len(_COLOURS) else _MANY_COLOURS
    rows = -(-len(labels) // 4)
    figure = Figure(figsize=(4.4 * len(methods), 4 + 0.25 * rows), dpi=_DPI, layout="constrained")
    for axes, method in zip(
        figure.subplots(1, len(methods), squeeze=False).flat, methods, strict=True
    ):
        of_method = table[table["method"] == method]
        for place, label in enumerate(labels):
            points = of_method[of_method["label"] == label]
            axes.scatter(
                points["x"], points["y"], s=11, linewidths=0, alpha=0.75,
                color=colours[place % len(colours)], marker=_MARKERS[place % len(_MARKERS)],
                label=fit_label(show(label)),
            )  # fmt: skip
        # A unit is as long on both axes, so that distances are those of the features' map.
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(fit_label(show(method)), fontsize=10)
        axes.set_xlabel("first coordinate (no unit)")
        axes.set_ylabel("second coordinate (no unit)")
        # Few and short, so that they do not overprint where coordinates are small.
        axes.locator_params(nbins=4)
        axes.ticklabel_format(scilimits=(-2, 4))
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", fontsize=8, ncols=min(4, len(labels)))
    return to_pixels(figure, is_synthetic=is_synthetic)


def _curve_name(entry: Entry) -> str:
    return f"{entry.curve}, {entry.first.summary['epochs']} epochs"


def _style_of(place: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "linestyle": _DASHES[place // len(_COLOURS) % len(_DASHES)],
    }


def _cut(name: str) -> str:
    """Return a name that fits into a legend; its beginning is not where names differ."""
    return escape(name if len(name) <= _MAX_NAME else f"…{name[1 - _MAX_NAME :]}")


def _add_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=1)
