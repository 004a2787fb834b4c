"""ROC and precision-recall curves by class, with bands over groups."""

# N images, G groups, B draws, P places on the horizontal axis, L distinct scores

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.class_tables import format_score
from experiments.reporting.ranking import (
    estimate_auroc,
    estimate_average_precision,
    estimate_macro_auroc,
    estimate_macro_average_precision,
    find_ranked_classes,
)
from experiments.reporting.statistics import CONFIDENCE, Estimate, Floats

Kind = Literal["roc", "precision_recall"]
GRID: Final[Floats] = np.linspace(0, 1, 501)
"""False positive rate, or recall."""
MACRO: Final = "mean of the classes"
_SEED: Final = 0
_NUM_RESAMPLES: Final = 1000
_MAX_DRAWN_AT_ONCE: Final = 2_000_000


@dataclass(frozen=True)
class BandedCurve:
    """A curve over `GRID`.

    Attributes:
        name: Class, or `MACRO`.
        values: True positive rate, or precision, (P,).
        low: Lower end of the 95 % interval at each place by itself, (P,); NaN with one group.
        high: Upper end.
        area: Under the curve: ROC area or average precision, with its interval over groups.
        num_positive: Test images of the class; of all classes for the mean.
    """

    name: str
    values: Floats
    low: Floats
    high: Floats
    area: Estimate
    num_positive: int


def find_banded_curves(frame: pd.DataFrame, kind: Kind) -> list[BandedCurve]:
    """Return the one-vs-rest curve of each class that is there, then their mean, with bands.

    A band holds the middle 95 % of curves of draws of whole groups, place by place: it is no band
    that holds the whole curve with 95 %. The mean curve is that of the classes at each place. The
    precision at a recall is that at the highest threshold which reaches it, so that the area under
    the curve is the average precision.

    Args:
        frame: As `FinishedRun.predictions` gives it.
        kind: Which curves.

    Raises:
        ValueError: The labels hold one class only.
    """
    names = find_ranked_classes(frame)
    truths = [(frame["label"] == name).to_numpy() for name in names]
    scores = [frame[f"prob_{name}"].to_numpy(float) for name in names]
    groups = frame["group"].to_numpy(str)
    values = [
        _trace(np.ones((1, len(frame))), truth, score, kind)[0]
        for truth, score in zip(truths, scores, strict=True)
    ]
    drawn = _draw_curves(truths, scores, groups, kind)
    areas = [
        (estimate_auroc if kind == "roc" else estimate_average_precision)(truth, score, groups)
        for truth, score in zip(truths, scores, strict=True)
    ]
    macro = (estimate_macro_auroc if kind == "roc" else estimate_macro_average_precision)(frame)
    curves = [
        BandedCurve(name, value, *_find_band(draws), area, int(truth.sum()))
        for name, value, draws, area, truth in zip(names, values, drawn, areas, truths, strict=True)
    ]
    mean: Floats = np.mean(values, axis=0)
    band = _find_band(np.mean(drawn, axis=0))
    return [*curves, BandedCurve(MACRO, mean, *band, macro, len(frame))]


def build_area_table(roc: Sequence[BandedCurve], recall: Sequence[BandedCurve]) -> pd.DataFrame:
    """Return a row a class and one of the mean: test images, both areas with their intervals.

    Args:
        roc: Of `find_banded_curves`.
        recall: The precision-recall curves of the same frame.
    """
    rows = []
    for first, second in zip(roc, recall, strict=True):
        row: dict[str, Any] = {
            "class": first.name,
            "positives": first.num_positive,
            "images": first.area.num_images,
            "groups": first.area.num_groups,
        }
        for name, area in (("auroc", first.area), ("average_precision", second.area)):
            row |= {name: area.value, f"{name}_low": area.low, f"{name}_high": area.high}
        rows.append(row)
    return pd.DataFrame(rows)


def format_areas(table: pd.DataFrame) -> str:
    """Return the table of `build_area_table` as text of at most 80 columns."""
    lines = [f"{'class':22}{'n':>6}  {'ROC AUC':24}average precision"]
    for row in table.to_dict("records"):
        areas = [format_score(row, name) for name in ("auroc", "average_precision")]
        lines.append(f"{row['class'][:21]:22}{row['positives']:6d}  {areas[0]:24}{areas[1]}")
    return "\n".join(lines)


def _draw_curves(
    truths: list[NDArray[np.bool_]], scores: list[Floats], groups: NDArray[np.str_], kind: Kind
) -> list[NDArray[np.float32]]:
    """Return the curves of draws of groups, (B, P) each; the same draws for every class."""
    names, of_image = np.unique(groups, return_inverse=True)
    number = _NUM_RESAMPLES if len(names) > 1 else 0
    # Single precision: twenty classes take half the room.
    drawn = [np.empty((number, len(GRID)), np.float32) for _ in truths]
    generator = np.random.default_rng(_SEED)
    share = np.full(len(names), 1 / len(names))
    step = max(1, _MAX_DRAWN_AT_ONCE // len(groups))
    for start in range(0, number, step):
        count = min(step, number - start)
        weights = generator.multinomial(len(names), share, count)[:, of_image].astype(float)
        for curves, truth, score in zip(drawn, truths, scores, strict=True):
            curves[start : start + count] = _trace(weights, truth, score, kind)
    return drawn


def _trace(weights: Floats, truth: NDArray[np.bool_], scores: Floats, kind: Kind) -> Floats:
    """Return the curves (B, P) of weighted images (B, N); NaN where a draw has no positive."""
    order = np.argsort(-scores, kind="stable")
    # Images with the same score are called together: only the last of them is a threshold.
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    positive = (weights * truth)[:, order].cumsum(axis=1)[:, ends]
    negative = (weights * ~truth)[:, order].cumsum(axis=1)[:, ends]
    traced = np.full((len(weights), len(GRID)), np.nan)
    for row, (hits, alarms) in enumerate(zip(positive, negative, strict=True)):
        if not hits[-1] or (kind == "roc" and not alarms[-1]):
            continue
        recall = hits / hits[-1]
        if kind == "roc":
            rates = np.append(0, alarms / alarms[-1]), np.append(0, recall)
            traced[row] = np.interp(GRID, *rates)
        else:
            # The least recall above 0 stands for 0 itself, where nothing is called.
            places = np.searchsorted(recall, np.maximum(GRID, recall[hits > 0][0]) - 1e-12)
            traced[row] = (hits / np.maximum(hits + alarms, 1e-12))[places]
    return traced


def _find_band(draws: NDArray[np.floating]) -> tuple[Floats, Floats]:
    known = draws[~np.isnan(draws).any(axis=1)]
    if not len(known):
        nothing = np.full(len(GRID), np.nan)
        return nothing, nothing
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail], axis=0)
    return low, high
