"""ROC and precision-recall curves by class, with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting.canvas import DPI, Picture, escape, fit_label, to_pixels
from experiments.reporting.ranking_curves import GRID, MACRO, BandedCurve, Kind

_MAX_IN_THREE_COLUMNS: Final = 6
_COLOUR: Final = "tab:blue"
_MACRO_COLOUR: Final = "tab:red"
_AXES: Final[dict[Kind, tuple[str, str, str]]] = {
    "roc": ("false positive rate (1 - specificity)", "true positive rate (sensitivity)", "AUC"),
    "precision_recall": ("recall (sensitivity)", "precision", "AP"),
}
_TITLES: Final[dict[Kind, str]] = {
    "roc": "ROC by class, each against the rest",
    "precision_recall": "Precision-recall by class, each against the rest",
}


def draw_by_class(
    curves: Sequence[BandedCurve], kind: Kind, title: str, *, is_synthetic: bool
) -> Picture:
    """Return a panel a class, and one of their mean, with 95 % bands over groups.

    Args:
        curves: As `ranking_curves.find_banded_curves` gives them.
        kind: Which curves.
        title: Of the figure.
        is_synthetic: Whether the images are; it is then stamped on the picture.
    """
    columns = min(len(curves), 3 if len(curves) <= _MAX_IN_THREE_COLUMNS else 4)
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(2.9 * columns, 3.1 * rows + 1), dpi=DPI, layout="constrained")
    some = curves[-1].area
    figure.suptitle(
        f"{escape(title)}\n{_TITLES[kind]}; {some.num_images} images in {some.num_groups} groups; "
        "bands: 95 % at each place, over groups",
        fontsize=10,
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, curve in zip(panels.flat, curves, strict=False):
        _draw_curve(axes, curve, kind)
    for axes in panels.flat[len(curves) :]:
        axes.axis("off")
    for axes in panels.flat[max(0, len(curves) - columns) : len(curves)]:
        axes.tick_params(labelbottom=True)
    across, along, _ = _AXES[kind]
    figure.supxlabel(across, fontsize=9)
    figure.supylabel(along, fontsize=9)
    return to_pixels(figure, is_synthetic=is_synthetic)


def _draw_curve(axes: Axes, curve: BandedCurve, kind: Kind) -> None:
    colour = _MACRO_COLOUR if curve.name == MACRO else _COLOUR
    axes.fill_between(GRID, curve.low, curve.high, color=colour, alpha=0.22, linewidth=0)
    style = "default" if kind == "roc" else "steps-pre"
    axes.plot(GRID, curve.values, color=colour, linewidth=1.3, drawstyle=style)
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle=":")
    elif curve.name != MACRO:
        # What a model without any skill would have: the share of the class.
        share = curve.num_positive / curve.area.num_images
        axes.axhline(share, color="gray", linewidth=0.8, linestyle=":")
    area = curve.area
    interval = f" [{area.low:.3f}, {area.high:.3f}]" if area.num_groups > 1 else ""
    name = curve.name if curve.name == MACRO else fit_label(curve.name)
    axes.set_title(
        f"{name}, n = {curve.num_positive}\n{_AXES[kind][2]} {area.value:.3f}{interval}", fontsize=9
    )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
