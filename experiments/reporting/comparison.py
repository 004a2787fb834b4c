"""Paired tests of runs on the same test images, and of models over their seeds."""

# N images, G groups, K classes, M metrics

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from experiments.reporting.alignment import AlignedRuns
from experiments.reporting.statistics import (
    METRICS,
    Floats,
    Metric,
    bootstrap_groups,
    find_interval,
    score_draws,
)

NUM_PAIRED_RESAMPLES = 10_000
"""More than for an interval: the least p-value, 2 / (B + 1), must outlive Holm's correction."""
_ROUNDING = 1e-12
_MAX_EXACT = 25
"""Up to so many images on which two runs disagree the binomial test is used (Agresti, 2002)."""


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two runs on the same images.

    Attributes:
        only_first: Images that only the first run names rightly.
        only_second: Images that only the second one does.
        p_value: Two-sided; each image counts as independent.
        is_exact: By the binomial distribution; else by chi-squared with continuity correction.
    """

    only_first: int
    only_second: int
    p_value: float
    is_exact: bool


@dataclass(frozen=True)
class Difference:
    """A score of the first run less that of the second, with its 95 % interval over groups.

    Attributes:
        value: The difference.
        low: Lower end of the interval; NaN with a single group.
        high: Upper end.
        p_value: Two-sided: the level at which the interval just reaches 0 (Davison and Hinkley,
            1997, section 5.4), at least 2 / (draws + 1); NaN with a single group.
    """

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class PairedTest:
    """Two runs on the same images; `differences` by metric, ``holm`` p-values over all pairs."""

    first: str
    second: str
    mcnemar: McNemar
    differences: dict[str, Difference]
    holm: dict[str, float]


@dataclass(frozen=True)
class SeedTest:
    """Two models over the seeds that both have, in one metric.

    Attributes:
        first: Name of a model.
        second: Name of another.
        metric: Its name.
        num_seeds: Pairs of runs.
        mean: Of the differences, first less second.
        sd: Standard deviation of the differences.
        t_p_value: Of the paired t-test.
        wilcoxon_p_value: Of the signed-rank test.
        t_holm: The first, corrected for all pairs of models.
        wilcoxon_holm: The second, likewise.
    """

    first: str
    second: str
    metric: str
    num_seeds: int
    mean: float
    sd: float
    t_p_value: float
    wilcoxon_p_value: float
    t_holm: float
    wilcoxon_holm: float


def run_mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Return McNemar's test of which images two runs name rightly, bool (N,) each."""
    table = [
        [int((first & second).sum()), int((first & ~second).sum())],
        [int((~first & second).sum()), int((~first & ~second).sum())],
    ]
    only_first, only_second = table[0][1], table[1][0]
    is_exact = only_first + only_second <= _MAX_EXACT
    p_value = float(mcnemar(table, exact=is_exact, correction=True).pvalue)
    return McNemar(only_first, only_second, min(p_value, 1.0), is_exact)


@dataclass(frozen=True)
class DrawnScore:
    """A run's score on all images and on draws of groups, float (B,), the same for all runs."""

    value: float
    draws: Floats


def draw_score(confusions: NDArray[np.int64], metric: Metric) -> DrawnScore:
    """Return a run's score on draws of groups.

    Args:
        confusions: Confusion matrices by group, int (G, K, K).
        metric: Of a confusion matrix.
    """
    draws = bootstrap_groups(
        score_draws(confusions[None], metric), len(confusions), num_resamples=NUM_PAIRED_RESAMPLES
    )
    return DrawnScore(float(metric(confusions.sum(axis=0).astype(float))), draws)


def estimate_difference(first: DrawnScore, second: DrawnScore) -> Difference:
    """Return the difference of two runs' scores on the same images, draw by draw."""
    differences = first.draws - second.draws
    p_value = float("nan")
    if len(differences):
        # Equal scores may differ by rounding: they count for both sides.
        tails = [(sign * differences <= _ROUNDING).sum() + 1 for sign in (1, -1)]
        p_value = min(1.0, 2 * float(min(tails)) / (len(differences) + 1))
    return Difference(first.value - second.value, *find_interval(differences), p_value)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected by Holm's step-down method; NaN stays and does not count."""
    known = [not np.isnan(p) for p in p_values]
    adjusted = np.full(len(p_values), np.nan)
    if any(known):
        adjusted[known] = multipletests(np.array(p_values)[known], method="holm")[1]
    return adjusted.tolist()


def compare_pairs(aligned: AlignedRuns) -> list[PairedTest]:
    """Return the paired tests of every pair of runs.

    Holm's correction goes over the pairs, for each kind of test (``mcnemar`` and the metrics'
    names) by itself.
    """
    scores = [
        {name: draw_score(aligned.confusions(index), metric) for name, metric in METRICS.items()}
        for index in range(len(aligned.runs))
    ]
    right = [aligned.is_right(index) for index in range(len(aligned.runs))]
    pairs = list(combinations(range(len(aligned.runs)), 2))
    agreements = [run_mcnemar(right[a], right[b]) for a, b in pairs]
    differences = [
        {name: estimate_difference(scores[a][name], scores[b][name]) for name in METRICS}
        for a, b in pairs
    ]
    holm = {
        "mcnemar": adjust_holm([found.p_value for found in agreements]),
        **{name: adjust_holm([found[name].p_value for found in differences]) for name in METRICS},
    }
    return [
        PairedTest(
            aligned.letters[a],
            aligned.letters[b],
            agreements[number],
            differences[number],
            {name: adjusted[number] for name, adjusted in holm.items()},
        )
        for number, (a, b) in enumerate(pairs)
    ]


def compare_seeds(aligned: AlignedRuns) -> list[SeedTest]:
    """Return the paired tests over seeds of every pair of models with two or more seeds in common.

    Holm's correction goes over the pairs of models, for each test and metric by itself.
    """
    models = aligned.models()
    scores = {
        metric_name: [
            float(metric(aligned.confusions(index).sum(axis=0).astype(float)))
            for index in range(len(aligned.runs))
        ]
        for metric_name, metric in METRICS.items()
    }
    found = []
    for metric_name, values in scores.items():
        pairs = [
            (
                first,
                second,
                np.array([values[firsts[seed]] - values[seconds[seed]] for seed in common]),
            )
            for (first, firsts), (second, seconds) in combinations(models.items(), 2)
            if len(common := sorted(set(firsts) & set(seconds))) > 1
        ]
        p_values = [find_p_values(differences) for _, _, differences in pairs]
        t_holm = adjust_holm([t for t, _ in p_values])
        wilcoxon_holm = adjust_holm([w for _, w in p_values])
        for number, (first, second, differences) in enumerate(pairs):
            mean, sd = float(differences.mean()), float(differences.std(ddof=1))
            found.append(
                SeedTest(
                    first,
                    second,
                    metric_name,
                    len(differences),
                    mean,
                    sd,
                    *p_values[number],
                    t_holm[number],
                    wilcoxon_holm[number],
                )
            )
    return found


def find_p_values(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the p-values of the paired t-test and of Wilcoxon's signed-rank test, two-sided.

    Where all differences are 0 both are 1. Fewer than six pairs cannot reach 0.05 by Wilcoxon.
    """
    if not differences.any():
        return 1.0, 1.0
    is_constant = np.ptp(differences) == 0
    t_p_value = 0.0 if is_constant else float(stats.ttest_1samp(differences, 0).pvalue)
    return t_p_value, float(stats.wilcoxon(differences).pvalue)
