"""ROC curves of the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.reporting.canvas import DPI, Picture, escape, fit_label, to_pixels
from experiments.reporting.folds import FoldedResult

_MARKERS = {"youden": "o", "sensitive": "s"}


def draw_fold_rocs(results: Sequence[FoldedResult], title: str, *, is_synthetic: bool) -> Picture:
    """Return a panel a binary test: a ROC curve a fold, and the pooled operating points.

    Args:
        results: As `folds.evaluate_folds` gives them.
        title: Of the figure.
        is_synthetic: Whether the images are; it is then stamped on the picture.
    """
    figure = Figure(figsize=(4.6 * len(results), 5.2), dpi=DPI, layout="constrained")
    figure.suptitle(escape(title), fontsize=10)
    panels = figure.subplots(1, len(results), squeeze=False).flat
    for axes, result in zip(panels, results, strict=True):
        for number, fold in enumerate(result.folds):
            axes.plot(
                fold.roc.false_positive_rate,
                fold.roc.true_positive_rate,
                linewidth=1,
                label=f"fold {number}: AUC {fold.auroc.value:.3f}",
            )
        for point in result.points:
            axes.plot(
                1 - point.specificity.value,
                point.sensitivity.value,
                linestyle="none",
                marker=_MARKERS[point.rule],
                markersize=8,
                markerfacecolor="none",
                markeredgewidth=1.8,
                color="black",
                label=f"{point.rule}: sensitivity {point.sensitivity.value:.3f},\n"
                f"specificity {point.specificity.value:.3f}",
            )
        axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle=":")
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
        axes.set_xlabel("false positive rate (1 - specificity)")
        axes.set_ylabel("true positive rate (sensitivity)")
        axes.set_title(
            f"{fit_label(result.task.name)}: AUC {np.mean(result.aurocs):.3f} ± "
            f"{result.spread:.3f} over folds\npoints: thresholds chosen on each fold's validation",
            fontsize=9,
        )
        axes.legend(fontsize=7.5, loc="lower right")
    return to_pixels(figure, is_synthetic=is_synthetic)
