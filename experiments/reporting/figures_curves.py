"""Curves of runs: validation loss by epoch, ROC curves, operating points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from experiments.reporting.alignment import AlignedRuns
from experiments.reporting.binary import BinaryResult, OperatingPoint
from experiments.reporting.canvas import DPI, Picture, escape, fit_label, to_pixels
from experiments.reporting.ranking import estimate_macro_auroc, find_macro_roc

_COLOURS = colormaps["tab10"].colors  # type: ignore[attr-defined]
_DASHES = ("-", "--", ":")
_MAX_IN_THREE_COLUMNS = 6
_LEGEND_LINE = 0.2
_LEAST_LOSS = 1e-3
_MANY_DECADES = 200
_MAX_NAME = 44
_MARKERS = {"youden": "o", "sensitive": "s"}


def draw_validation_loss(aligned: AlignedRuns) -> Picture:
    """Return the validation loss of each run by epoch, that of the kept model marked."""
    size = (7.6, 3.8 + _LEGEND_LINE * len(aligned.runs))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for index, run in enumerate(aligned.runs):
        frame = number_epochs(run.metrics())
        if "val/loss" in frame:
            _draw_loss(axes, frame, "val/loss", aligned, index)
    axes.set_title(
        f"Validation loss{_describe_val(aligned)}; dots: the model that was kept", fontsize=10
    )
    _finish_loss_axes(axes)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean cross-entropy (nats)")
    _add_legend(figure, axes)
    return to_pixels(figure, is_synthetic=aligned.is_synthetic)


def draw_validation_loss_by_class(aligned: AlignedRuns) -> Picture:
    """Return a panel a class: the validation loss of its images by epoch, a line a run.

    Losses below 0.001 are drawn there.
    """
    number_of_classes = len(aligned.classes)
    columns = min(number_of_classes, 3 if number_of_classes <= _MAX_IN_THREE_COLUMNS else 4)
    rows = -(-number_of_classes // columns)
    size = (2.6 * columns + 0.4, 2.1 * rows + 0.6 + _LEGEND_LINE * len(aligned.runs))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    frames = [number_epochs(run.metrics()) for run in aligned.runs]
    support = aligned.runs[0].summary.get("splits", {}).get("val", {}).get("images", {})
    for axes, name in zip(panels.flat, aligned.classes, strict=False):
        for index, frame in enumerate(frames):
            column = f"val/loss_by_class/{name}"
            if column in frame:
                _draw_loss(axes, frame, column, aligned, index)
        number = f" (n = {support[name]})" if name in support else ""
        axes.set_title(f"{fit_label(name)}{number}", fontsize=9)
        _finish_loss_axes(axes)
    for axes in panels.flat[number_of_classes:]:
        axes.axis("off")
    for axes in panels.flat[max(0, number_of_classes - columns) : number_of_classes]:
        axes.set_xlabel("epoch", fontsize=9)
        axes.tick_params(labelbottom=True)
    figure.suptitle("Validation loss by class; dots: the model that was kept", fontsize=10)
    figure.supylabel("mean cross-entropy (nats)", fontsize=9)
    _add_legend(figure, panels.flat[0])
    return to_pixels(figure, is_synthetic=aligned.is_synthetic)


def draw_macro_roc(aligned: AlignedRuns) -> Picture:
    """Return the mean one-vs-rest ROC curve of each run on test, with its area and interval."""
    size = (6, 5.4 + _LEGEND_LINE * len(aligned.runs))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for index, frame in enumerate(aligned.frames):
        false_positive_rate, true_positive_rate = find_macro_roc(frame)
        area = estimate_macro_auroc(frame)
        axes.plot(
            false_positive_rate,
            true_positive_rate,
            **_style_of(index),
            label=f"{_name_of(aligned, index)}: {area.value:.3f} [{area.low:.3f}, {area.high:.3f}]",
        )
    held = aligned.frames[0]["label"].nunique()
    _finish_roc_axes(axes)
    axes.set_title(
        f"Test ROC, mean of {held} one-vs-rest curves; areas with 95 % intervals\n"
        f"n = {aligned.num_images} images in {aligned.num_groups} groups",
        fontsize=10,
    )
    _add_legend(figure, axes)
    return to_pixels(figure, is_synthetic=aligned.is_synthetic)


def draw_binary_roc(results: Sequence[BinaryResult], title: str, *, is_synthetic: bool) -> Picture:
    """Return a panel a binary test: its ROC curve on test with the points chosen on validation.

    Args:
        results: As `binary.evaluate_binary` gives them.
        title: Of the figure.
        is_synthetic: Whether the images are; it is then stamped on the picture.
    """
    figure = Figure(figsize=(4.6 * len(results), 5.2), dpi=DPI, layout="constrained")
    figure.suptitle(escape(title), fontsize=10)
    for axes, result in zip(
        figure.subplots(1, len(results), squeeze=False).flat, results, strict=True
    ):
        roc, area = result.roc, result.auroc
        axes.plot(roc.false_positive_rate, roc.true_positive_rate, color=_COLOURS[0])
        for point in result.points:
            axes.plot(
                1 - point.specificity.value,
                point.sensitivity.value,
                linestyle="none",
                marker=_MARKERS[point.rule],
                markersize=8,
                markerfacecolor="none",
                markeredgewidth=1.8,
                color=_COLOURS[1 if point.rule == "youden" else 3],
                label=_describe_point(point),
            )
        _finish_roc_axes(axes)
        axes.set_title(
            f"{fit_label(result.task.name)}: AUC {area.value:.3f} "
            f"[{area.low:.3f}, {area.high:.3f}]\n"
            f"{result.num_positive} positive, {result.num_negative} negative, "
            f"{area.num_groups} groups",
            fontsize=9,
        )
        axes.legend(fontsize=7.5, loc="lower right", title="chosen on validation", title_fontsize=8)
    return to_pixels(figure, is_synthetic=is_synthetic)


def _describe_point(point: OperatingPoint) -> str:
    rule = "Youden" if point.rule == "youden" else "sensitive"
    return (
        f"{rule}, p ≥ {point.threshold:.3g}: sensitivity {point.sensitivity.value:.3f},\n"
        f"specificity {point.specificity.value:.3f}"
    )


def _draw_loss(
    axes: Axes, frame: pd.DataFrame, column: str, aligned: AlignedRuns, index: int
) -> None:
    known = frame.dropna(subset=[column])
    known = known.assign(**{column: known[column].clip(lower=_LEAST_LOSS)})
    if known.empty:
        return
    style = _style_of(index)
    axes.plot(known["epoch"], known[column], **style, label=_name_of(aligned, index))
    kept = known[known["epoch"] == aligned.runs[index].summary.get("best_epoch")]
    axes.plot(kept["epoch"], kept[column], "o", markersize=5, color=style["color"])


def number_epochs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with epochs that go on rising where a second stage counts from 1 again."""
    if frame["epoch"].is_monotonic_increasing and frame["epoch"].is_unique:
        return frame
    return frame.assign(epoch=np.arange(1, len(frame) + 1))


def _finish_loss_axes(axes: Axes) -> None:
    # The first epochs may be fifty times as high as the last.
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    subs = (1,) if high > _MANY_DECADES * low else (1, 2, 5)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _finish_roc_axes(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle=":")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.set_xlabel("false positive rate (1 - specificity)")
    axes.set_ylabel("true positive rate (sensitivity)")


def _add_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=1)


def _describe_val(aligned: AlignedRuns) -> str:
    counts = {
        sum(run.summary.get("splits", {}).get("val", {}).get("images", {}).values())
        for run in aligned.runs
    }
    return f", n = {counts.pop()}" if len(counts) == 1 and 0 not in counts else ""


def _style_of(index: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index // len(_COLOURS) % len(_DASHES)],
        "linewidth": 1.5,
    }


def _name_of(aligned: AlignedRuns, index: int) -> str:
    name = aligned.names[index]
    if len(name) > _MAX_NAME:
        name = f"…{name[1 - _MAX_NAME :]}"
    return f"{aligned.letters[index]}  {escape(name)}"
