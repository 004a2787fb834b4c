"""Paired comparison of two models over seeds and draws of the splits."""

# J pairs of runs, draws or folds

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from scipy import stats

from experiments.reporting.comparison import adjust_holm, find_p_values
from experiments.reporting.repeat_statistics import bootstrap_cells, mean_score, score_by_draw
from experiments.reporting.repeats import Cell
from experiments.reporting.statistics import METRICS, Floats, Metric, find_interval

_ALPHA: Final = 0.05
_HOLM: Final = ("t_p", "corrected_t_p", "wilcoxon_p")
Unit = Literal["draw", "seed"]
BoundBy = Literal["corrected t", "bootstrap"]


@dataclass(frozen=True)
class CorrectedT:
    """Nadeau and Bengio's corrected resampled t-test.

    Attributes:
        mean: Of the differences.
        standard_error: Of the mean, corrected.
        degrees: Of freedom.
        statistic: t.
        p_value: Two-sided.
    """

    mean: float
    standard_error: float
    degrees: int
    statistic: float
    p_value: float

    def equivalence_bound(self) -> float:
        """Return X of "the difference is smaller than X either way with 95 % confidence".

        The smallest X at which two one-sided tests at 5 % (Schuirmann, 1987) both reject that the
        difference is X or more: the larger end of the 90 % interval.
        """
        reach = float(stats.t.ppf(1 - _ALPHA, self.degrees)) * self.standard_error
        return abs(self.mean) + reach


@dataclass(frozen=True)
class RepeatTest:
    """Two models at a share of labels in one metric, first less second.

    Attributes:
        first: Name of a model.
        second: Name of another.
        label_percent: Share of the training labels.
        metric: Its name.
        runs: Of the first model and of the second that are compared.
        unit: What the t-tests and Wilcoxon's count as one: with several draws a draw, over which
            each model's seeds are averaged first, however many it has, since runs on one draw share
            training and test images and are no independent evidence; with one draw a seed that both
            have, and then the tests speak of that draw only.
        units: How many.
        mean: Of the differences, over draws of the means over seeds.
        sd: Standard deviation over units; NaN for one.
        values: Difference of each unit.
        low: Lower end of the 95 % interval of `repeat_statistics.bootstrap_cells`.
        high: Upper end.
        t_p: Of the paired t-test; too small where draws overlap. NaN with one unit.
        corrected_t_p: Of `run_corrected_t`; NaN unless draws have different test images.
        wilcoxon_p: Of the signed-rank test; NaN with one unit.
        bound: The difference is smaller than this, either way, with 95 % confidence.
        bound_by: The corrected t-test where there is one, else the bootstrap's 90 % interval.
        holm: p-values by name, corrected over all comparisons in the metric.
    """

    first: str
    second: str
    label_percent: int
    metric: str
    runs: tuple[int, int]
    unit: Unit
    units: int
    mean: float
    sd: float
    values: tuple[float, ...]
    low: float
    high: float
    t_p: float
    corrected_t_p: float
    wilcoxon_p: float
    bound: float
    bound_by: BoundBy
    holm: dict[str, float]


def run_corrected_t(differences: Floats, test_fraction: float) -> CorrectedT:
    """Return the t-test for models that were trained on overlapping parts of one set.

    The variance of the mean is (1/J + n_test/n_train) s^2 in place of s^2/J (Nadeau and Bengio,
    2003, Machine Learning 52, 239-281, section 4): s^2 does not show how much the results of
    overlapping training sets have in common. For k folds n_test/n_train is 1 / (k - 1).

    Args:
        differences: Of two models' scores by draw or fold, (J,), two or more.
        test_fraction: n_test / (n_test + n_train), in (0, 1).

    Raises:
        ValueError: There are too few, or the fraction is none.
    """
    if len(differences) < 2 or not 0 < test_fraction < 1:
        raise ValueError(
            f"The corrected t-test takes two differences or more and a test fraction between 0 and "
            f"1, not {len(differences)} and {test_fraction}."
        )
    ratio = test_fraction / (1 - test_fraction)
    mean, variance = float(differences.mean()), float(differences.var(ddof=1))
    error = float(np.sqrt((1 / len(differences) + ratio) * variance))
    degrees = len(differences) - 1
    if not error:
        return CorrectedT(mean, 0.0, degrees, float("inf") if mean else 0.0, 0.0 if mean else 1.0)
    return CorrectedT(
        mean, error, degrees, mean / error, float(2 * stats.t.sf(abs(mean) / error, degrees))
    )


def compare_cells(cells: Sequence[Cell], reference: str | None = None) -> list[RepeatTest]:
    """Return the paired tests of models at the same share of labels, on common draws.

    Args:
        cells: As `repeats.collect_cells` gives them.
        reference: Name of the model that each other is compared with; None: all pairs.

    Raises:
        ValueError: There is no such model.
    """
    models = sorted({cell.model for cell in cells})
    if reference is not None and reference not in models:
        raise ValueError(
            f"There is no model {reference!r} for --reference. There are: {', '.join(models)}."
        )
    pairs = [
        (second, first) if reference == first.model else (first, second)
        for first, second in combinations(cells, 2)
        if first.label_percent == second.label_percent
        and reference in (None, first.model, second.model)
        and _take_common(first, second)[0].repeats
    ]
    found = [
        _compare(first, second, name, metric)
        for name, metric in METRICS.items()
        for first, second in pairs
    ]
    for name in METRICS:
        members = [test for test in found if test.metric == name]
        for kind in _HOLM:
            adjusted = adjust_holm([getattr(test, kind) for test in members])
            for test, value in zip(members, adjusted, strict=True):
                test.holm[kind] = value
    return found


def build_test_table(tests: Sequence[RepeatTest]) -> pd.DataFrame:
    """Return a row a test: its fields, the values as text, Holm's p-values as ``<name>_holm``."""
    rows = []
    for test in tests:
        left_out = ("holm", "values", "runs")
        row: dict[str, Any] = {k: v for k, v in vars(test).items() if k not in left_out}
        row["first_runs"], row["second_runs"] = test.runs
        row["values"] = " ".join(f"{value:.4f}" for value in test.values)
        rows.append(row | {f"{name}_holm": value for name, value in test.holm.items()})
    return pd.DataFrame(rows)


def find_test_fraction(cell: Cell) -> float:
    """Return the share of test images among all that each draw divides, by the run summaries.

    Validation counts as training, since it chooses the model. Of a label subset the whole is
    reckoned from its percentage.
    """
    fractions = []
    for repeat in cell.repeats.values():
        splits = repeat.run.summary["splits"]
        sizes = {name: sum(splits[name]["images"].values()) for name in ("train", "val", "test")}
        train = sizes["train"] * 100 / cell.label_percent + sizes["val"]
        fractions.append(sizes["test"] / (sizes["test"] + train))
    return float(np.mean(fractions))


def _compare(first: Cell, second: Cell, name: str, metric: Metric) -> RepeatTest:
    ours, theirs = _take_common(first, second)
    unit: Unit = "draw" if len(ours.draws) > 1 else "seed"
    if unit == "draw":
        means = [score_by_draw(cell, metric) for cell in (ours, theirs)]
        values = np.array([means[0][draw] - means[1][draw] for draw in ours.draws])
    else:
        values = np.subtract(ours.values(metric), theirs.values(metric))
    draws = np.subtract(*bootstrap_cells([ours, theirs], metric))
    t_p, wilcoxon_p = find_p_values(values) if len(values) > 1 else (float("nan"),) * 2
    has_own_tests = len({repeat.images for repeat in ours.repeats.values()}) > 1
    fraction = find_test_fraction(ours)
    is_correctable = has_own_tests and 0 < fraction < 1
    corrected = run_corrected_t(values, fraction) if is_correctable else None
    return RepeatTest(
        first.model,
        second.model,
        first.label_percent,
        name,
        (len(ours.repeats), len(theirs.repeats)),
        unit,
        len(values),
        mean_score(ours, metric) - mean_score(theirs, metric),
        float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        tuple(values.tolist()),
        *find_interval(draws),
        t_p,
        corrected.p_value if corrected else float("nan"),
        wilcoxon_p,
        corrected.equivalence_bound() if corrected else _bound_of(draws),
        "corrected t" if corrected else "bootstrap",
        {},
    )


def _take_common(first: Cell, second: Cell) -> tuple[Cell, Cell]:
    """Return both on their common draws; on a single one with their common seeds."""
    draws = set(first.draws) & set(second.draws)
    seeds = set(first.repeats) & set(second.repeats)

    def take(cell: Cell) -> Cell:
        kept = {
            place: repeat
            for place, repeat in cell.repeats.items()
            if (place[0] in draws if len(draws) > 1 else place in seeds)
        }
        return Cell(cell.model, cell.label_percent, kept)

    return take(first), take(second)


def _bound_of(draws: Floats) -> float:
    """Return the larger end of the 90 % interval; NaN without draws."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan")
    return float(abs(np.quantile(known, [_ALPHA, 1 - _ALPHA])).max())
