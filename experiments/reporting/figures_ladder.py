"""Curves of the ladder of small CNNs, a panel a variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.reporting.canvas import DPI, Picture, to_pixels
from experiments.reporting.ladder import find_reported_accuracy
from experiments.reporting.load_runs import FinishedRun

_COLUMNS: Final = 5
_CURVES: Final[tuple[tuple[str, Literal["train", "validation"], str], ...]] = (
    ("train", "train", "tab:blue"),
    ("val", "validation", "tab:orange"),
)


def draw_ladder(runs: Mapping[str, FinishedRun]) -> Picture:
    """Return training and validation accuracy by epoch, a panel a variant.

    A dot marks the epoch that was kept; dotted lines are what the source system reports, which says
    nothing where the images are synthetic and is left out there.

    Args:
        runs: By variant, all on the same splits.
    """
    columns = min(_COLUMNS, len(runs))
    rows = -(-len(runs) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.4, 2.1 * rows + 0.9), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    is_synthetic = any(run.is_synthetic for run in runs.values())
    for axes, (variant, run) in zip(panels.flat, runs.items(), strict=False):
        frame = run.metrics().set_index("epoch")
        best = run.summary["best_epoch"]
        for tag, split, colour in _CURVES:
            curve = frame[f"{tag}/accuracy"]
            axes.plot(curve.index, curve, color=colour, linewidth=1.2, label=split)
            axes.plot(best, curve[best], "o", color=colour, markersize=3.5)
            reported = find_reported_accuracy(variant, split)
            if reported is not None and not is_synthetic:
                axes.axhline(reported, color=colour, linestyle=":", linewidth=1)
        axes.set_title(f"{variant}\ntest {run.summary['test']['accuracy']:.3f}", fontsize=9)
        axes.set_ylim(0, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    for axes in panels.flat[len(runs) :]:
        axes.axis("off")
    for axes in panels.flat[max(0, len(runs) - columns) : len(runs)]:
        axes.tick_params(labelbottom=True)
    some = next(iter(runs.values())).summary
    note = "" if is_synthetic else "; dotted: as the source system reports"
    figure.suptitle(
        f"Small CNNs on {some['data']['name']}, {some['protocol']} splits; dots: the epoch that "
        f"was kept{note}",
        fontsize=10,
    )
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("accuracy", fontsize=9)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower right", ncols=2)
    return to_pixels(figure, is_synthetic=is_synthetic)
