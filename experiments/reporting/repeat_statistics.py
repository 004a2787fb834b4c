"""Means over seeds and draws of the splits, with intervals on two levels."""

# R runs, G groups, B draws of the bootstrap

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from experiments.reporting.repeats import Cell
from experiments.reporting.statistics import (
    METRICS,
    Estimate,
    Floats,
    Metric,
    bootstrap_groups,
    find_interval,
)

_SEED: Final = 0


def build_repeat_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return a row a model and share of labels.

    Columns: model, data, label_percent, draws, seeds (of the draw with fewest), runs, test_images
    and test_groups (over all draws), synthetic, and of each metric its mean over draws of the means
    over seeds, ``_sd`` (over all runs; empty for one), ``_low`` and ``_high`` (`bootstrap_cells`),
    ``_values`` (of all runs, by draw and then by seed).
    """
    rows = []
    for cell in cells:
        some = next(iter(cell.repeats.values())).run
        estimates = {name: estimate_cell(cell, metric) for name, metric in METRICS.items()}
        row: dict[str, Any] = {
            "model": cell.model,
            "data": some.summary["data"]["name"],
            "label_percent": cell.label_percent,
            "draws": len(cell.draws),
            "seeds": min(sum(d == draw for d, _ in cell.repeats) for draw in cell.draws),
            "runs": len(cell.repeats),
            "test_images": estimates["accuracy"].num_images,
            "test_groups": estimates["accuracy"].num_groups,
            "synthetic": some.is_synthetic,
        }
        for name, found in estimates.items():
            values = cell.values(METRICS[name])
            row[name] = found.value
            row[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
            row[f"{name}_low"], row[f"{name}_high"] = found.low, found.high
            row[f"{name}_values"] = " ".join(f"{value:.4f}" for value in values)
        rows.append(row)
    return pd.DataFrame(rows)


def bootstrap_cells(cells: Sequence[Cell], metric: Metric) -> list[Floats]:
    """Return the mean score of each cell over draws and seeds, by draws of a bootstrap, (B,) each.

    On two levels: runs (the splits' draws with replacement, and within each its seeds) and, drawn
    independently of them and for all runs at once, groups of test images. This is the pigeonhole
    bootstrap (Owen, 2007, Annals of Applied Statistics 1, 386-411), which errs to the wide side.
    With one draw and one seed only the groups are drawn. A level with few members is itself drawn
    too narrow: by (n - 1) / n of its variance. Draws are the same for all cells, seeds for those
    with the same runs.

    Args:
        cells: On the same draws' test images.
        metric: Of a confusion matrix.
    """
    names = sorted({g for c in cells for r in c.repeats.values() for g in r.groups})
    index = {name: place for place, name in enumerate(names)}
    return [
        bootstrap_groups(
            _make_scorer(cell, metric, index),
            len(names),
            num_images=len(cell.repeats) * next(iter(cell.repeats.values())).confusions[0].size,
        )
        for cell in cells
    ]


def estimate_cell(cell: Cell, metric: Metric) -> Estimate:
    """Return the mean over draws of the means over seeds, with the interval of `bootstrap_cells`.

    ``num_images`` and ``num_groups`` are over all draws' test images, each counted once.
    """
    [draws] = bootstrap_cells([cell], metric)
    groups = {name for repeat in cell.repeats.values() for name in repeat.groups}
    by_draw = {draw: repeat for (draw, _), repeat in cell.repeats.items()}
    sizes: dict[str, int] = {}
    for repeat in by_draw.values():
        counts = repeat.confusions.sum(axis=(1, 2))
        for name, count in zip(repeat.groups, counts, strict=True):
            sizes[name] = max(sizes.get(name, 0), int(count))
    return Estimate(
        mean_score(cell, metric), *find_interval(draws), sum(sizes.values()), len(groups)
    )


def mean_score(cell: Cell, metric: Metric) -> float:
    """Return the mean over draws of the means over seeds."""
    return float(np.mean(list(score_by_draw(cell, metric).values())))


def score_by_draw(cell: Cell, metric: Metric) -> dict[int, float]:
    """Return the mean score over seeds by draw."""
    return {
        draw: float(np.mean([r.score(metric) for (d, _), r in cell.repeats.items() if d == draw]))
        for draw in cell.draws
    }


def _make_scorer(
    cell: Cell, metric: Metric, index: Mapping[str, int]
) -> Callable[[Floats], Floats]:
    """Return the function from how often each group was drawn (b, G) to mean scores (b,)."""
    parts = [
        ([index[name] for name in repeat.groups], repeat.confusions)
        for repeat in cell.repeats.values()
    ]
    members = [
        [place for place, (d, _) in enumerate(cell.repeats) if d == draw] for draw in cell.draws
    ]
    # Draws by a generator of their own: they are the same for cells with other numbers of seeds.
    generators = np.random.default_rng(_SEED), np.random.default_rng(_SEED + 1)

    def score(weights: Floats) -> Floats:
        scores = np.empty((len(weights), len(parts)))
        for place, (columns, confusions) in enumerate(parts):
            flat = confusions.reshape(len(confusions), -1)
            drawn = (weights[:, columns] @ flat).reshape(-1, *confusions.shape[1:])
            with np.errstate(invalid="ignore"):
                scores[:, place] = metric(drawn)
        mean: Floats = (scores * _draw_runs(*generators, len(weights), members)).sum(axis=1)
        return mean

    return score


def _draw_runs(
    for_draws: np.random.Generator,
    for_seeds: np.random.Generator,
    number: int,
    members: Sequence[Sequence[int]],
) -> Floats:
    """Return weights of runs, (number, R): draws of the splits, and within each its seeds."""
    weights = np.zeros((number, sum(map(len, members))))
    of_draws = for_draws.multinomial(len(members), np.full(len(members), 1 / len(members)), number)
    for place, runs in enumerate(members):
        for times in range(1, len(members) + 1):
            # Each time that a draw comes up, its seeds are drawn anew.
            seeds = for_seeds.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), number)
            weights[:, runs] += seeds * (of_draws[:, [place]] >= times) / len(runs)
    return weights / len(members)
