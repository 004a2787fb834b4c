"""Areas under curves against the Mann-Whitney statistic, scikit-learn and known values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from experiments.reporting import ranking, statistics


def draw_scores(seed: int = 0, number: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, higher for positives."""
    rng = np.random.default_rng(seed)
    is_positive = rng.random(number) < 0.3
    return is_positive, np.round(rng.normal(size=number) + is_positive, 1)


def single_groups(number: int) -> np.ndarray:
    return np.array([f"{index:05}" for index in range(number)])


def test_area_of_four_images_by_hand():
    is_positive, scores = np.array([True, True, False, False]), np.array([0.8, 0.4, 0.6, 0.2])
    assert ranking.estimate_auroc(is_positive, scores, single_groups(4)).value == 3 / 4
    found = ranking.estimate_average_precision(is_positive, scores, single_groups(4))
    assert found.value == pytest.approx((1 + 2 / 3) / 2)


def test_area_is_the_mann_whitney_statistic_and_that_of_scikit_learn():
    is_positive, scores = draw_scores()
    found = ranking.estimate_auroc(is_positive, scores, single_groups(300)).value
    u = stats.mannwhitneyu(scores[is_positive], scores[~is_positive]).statistic
    assert found == pytest.approx(u / (is_positive.sum() * (~is_positive).sum()))
    assert found == pytest.approx(roc_auc_score(is_positive, scores))


def test_areas_of_weighted_images_equal_scikit_learn():
    is_positive, scores = draw_scores(1)
    weights = np.random.default_rng(2).integers(0, 4, (5, 300)).astype(float)
    areas = ranking.auroc_scorer(is_positive, scores)(weights)
    precisions = ranking.average_precision_scorer(is_positive, scores)(weights)
    for row, area, precision in zip(weights, areas, precisions, strict=True):
        assert area == pytest.approx(roc_auc_score(is_positive, scores, sample_weight=row))
        expected = average_precision_score(is_positive, scores, sample_weight=row)
        assert precision == pytest.approx(expected)


def test_interval_of_an_area_is_near_that_of_hanley_and_mcneil():
    """Hanley and McNeil (1982) give the standard error of an area from exponential scores."""
    negative, positive = (stats.expon.ppf((np.arange(n) + 0.5) / n) for n in (600, 300))
    scores = np.concatenate([4 * positive, negative])
    is_positive = np.arange(900) < 300
    found = ranking.estimate_auroc(is_positive, scores, single_groups(900))
    area = found.value
    assert area == pytest.approx(4 / 5, abs=0.002)  # P(X > Y) of exponentials with means 4 and 1
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 299 * (q1 - area**2) + 599 * (q2 - area**2)) / (300 * 600)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.sqrt(variance), rel=0.1)


def test_copies_in_a_group_do_not_narrow_the_interval():
    is_positive, scores = draw_scores(4, 40)
    groups = single_groups(40)
    alone = ranking.estimate_auroc(is_positive, scores, groups)
    copies = ranking.estimate_auroc(*(np.repeat(part, 9) for part in (is_positive, scores, groups)))
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high))
    assert (copies.num_images, copies.num_groups) == (360, 40)


def test_draws_without_a_positive_are_left_out():
    is_positive = np.array([True] + [False] * 3)
    found = ranking.estimate_auroc(is_positive, np.array([0.9, 0.1, 0.2, 0.3]), single_groups(4))
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_a_single_group_has_no_interval():
    is_positive, scores = draw_scores(5, 20)
    found = ranking.estimate_auroc(is_positive, scores, np.array(["one"] * 20))
    assert np.isnan(found.low)
    assert found.num_groups == 1


def frame_of(labels: list[str], probs: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(probs, columns=["prob_a", "prob_b", "prob_c"])
    return frame.assign(label=labels, group=single_groups(len(labels)))


def test_macro_area_equals_scikit_learn_and_the_drawn_curve():
    rng = np.random.default_rng(6)
    labels = ["abc"[index % 3] for index in range(90)]
    probs = rng.dirichlet(np.ones(3), 90)
    found = ranking.estimate_macro_auroc(frame_of(labels, probs)).value
    expected = roc_auc_score(labels, probs, multi_class="ovr", average="macro")
    assert found == pytest.approx(expected)
    x, y = ranking.find_macro_roc(frame_of(labels, probs))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(found, abs=0.01)


def test_macro_area_is_over_the_classes_that_are_there():
    probs = np.array([[0.6, 0.1, 0.3], [0.2, 0.1, 0.7], [0.5, 0.1, 0.4], [0.1, 0.1, 0.8]])
    assert ranking.estimate_macro_auroc(frame_of(["a", "c", "a", "c"], probs)).value == 1
    with pytest.raises(ValueError, match="needs two classes"):
        ranking.estimate_macro_auroc(frame_of(["a"] * 4, probs))


def test_share_has_the_bootstrap_interval_or_the_exact_one_at_its_ends():
    groups = single_groups(400)
    counted = np.arange(400) < 200
    some = statistics.estimate_share(np.arange(400) < 150, counted, groups)
    wilson = stats.binomtest(150, 200).proportion_ci(method="wilson")
    assert some.value == 0.75
    assert (some.low, some.high) == pytest.approx((wilson.low, wilson.high), abs=0.015)
    assert (some.num_images, some.num_groups) == (200, 200)
    every = statistics.estimate_share(counted, counted, groups)
    assert (every.low, every.high) == pytest.approx((0.025 ** (1 / 200), 1))
    copies = statistics.estimate_share(counted, counted, np.array(["x", "y"] * 200))
    assert copies.low == pytest.approx(0.025**0.5), "two groups are two trials"
    nothing = statistics.estimate_share(counted & ~counted, counted & ~counted, groups)
    assert np.isnan(nothing.value)
