"""Paired tests against published and analytic cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.reporting import comparison, statistics
from experiments.reporting.alignment import align_runs
from experiments.reporting.load_runs import find_classifiers

# Student (1908), hours of sleep gained with two drugs, the same ten patients.
SLEEP_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def right_and_wrong(both: int, only_first: int, only_second: int, none: int):
    first = [True] * (both + only_first) + [False] * (only_second + none)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * none
    return np.array(first), np.array(second)


def test_mcnemar_of_the_textbook():
    """Agresti (2002), table 10.1: 794, 150, 86, 570; (|150 - 86| - 1)^2 / 236 = 16.82."""
    found = comparison.run_mcnemar(*right_and_wrong(794, 150, 86, 570))
    assert (found.only_first, found.only_second, found.is_exact) == (150, 86, False)
    assert found.p_value == pytest.approx(stats.chi2.sf(63**2 / 236, 1))
    assert found.p_value == pytest.approx(4.1e-5, rel=0.02)


def test_mcnemar_is_the_sign_test_where_few_images_differ():
    found = comparison.run_mcnemar(*right_and_wrong(50, 1, 9, 3))
    assert found.is_exact
    assert found.p_value == pytest.approx(2 * (1 + 10) / 2**10)
    assert comparison.run_mcnemar(*right_and_wrong(5, 0, 0, 3)).p_value == 1


@pytest.mark.parametrize(("number", "is_exact"), [(25, True), (26, False)])
def test_mcnemar_changes_from_exact_to_chi_squared_above_25(number, is_exact):
    assert comparison.run_mcnemar(*right_and_wrong(9, number, 0, 9)).is_exact is is_exact


def test_holm_of_a_known_case():
    adjusted = comparison.adjust_holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_does_not_count_what_was_not_tested():
    adjusted = comparison.adjust_holm([0.02, float("nan"), 0.03])
    assert adjusted[::2] == pytest.approx([0.04, 0.04])
    assert np.isnan(adjusted[1])
    assert np.isnan(comparison.adjust_holm([float("nan")])[0])


def test_paired_t_of_student_and_wilcoxon_by_counting():
    t_p_value, _ = comparison.find_p_values(SLEEP_1 - SLEEP_2)
    assert t_p_value == pytest.approx(0.002833, abs=1e-6)
    _, wilcoxon = comparison.find_p_values(np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert wilcoxon == pytest.approx(2 / 2**5)
    assert comparison.find_p_values(np.zeros(4)) == (1, 1)
    assert comparison.find_p_values(np.full(6, 0.25)) == (0, pytest.approx(2 / 2**6))


def confusions_of(right: np.ndarray) -> np.ndarray:
    labels = ["a", "b"] * (len(right) // 2)
    preds = [
        label if is_right else {"a": "b", "b": "a"}[label]
        for label, is_right in zip(labels, right, strict=True)
    ]
    groups = [f"{index:04}" for index in range(len(right))]
    return statistics.group_confusions(labels, preds, groups, ["a", "b"])


def test_interval_of_a_paired_difference_is_near_the_normal_one():
    first, second = right_and_wrong(300, 60, 20, 20)
    scores = [
        comparison.draw_score(confusions_of(right), statistics.accuracy)
        for right in (first, second)
    ]
    found = comparison.estimate_difference(*scores)
    differences = first.astype(float) - second
    half = 1.96 * differences.std() / np.sqrt(len(differences))
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.003)
    assert found.p_value == pytest.approx(2 / (comparison.NUM_PAIRED_RESAMPLES + 1))
    turned = comparison.estimate_difference(*reversed(scores))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_bootstrap_p_value_is_near_the_normal_one():
    first, second = right_and_wrong(300, 45, 30, 25)
    scores = [
        comparison.draw_score(confusions_of(right), statistics.accuracy)
        for right in (first, second)
    ]
    differences = first.astype(float) - second
    z = differences.mean() / (differences.std() / np.sqrt(len(differences)))
    found = comparison.estimate_difference(*scores)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(z), abs=0.02)


def test_a_run_does_not_differ_from_itself():
    score = comparison.draw_score(confusions_of(np.arange(40) % 3 > 0), statistics.macro_f1)
    found = comparison.estimate_difference(score, score)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_seeds_of_a_model_are_paired_by_seed(make_run):
    paths = [
        make_run(f"{name}/seed-{seed}", skill=skill, seed=seed, options={"variant": name})
        for name, skill, seeds in (("weak", 0.5, (2, 0, 1)), ("strong", 3.0, (0, 1, 2, 3)))
        for seed in seeds
    ]
    aligned = align_runs(find_classifiers(paths))
    tests = {test.metric: test for test in comparison.compare_seeds(aligned)}
    found = tests["accuracy"]
    assert (found.first, found.second) == ("ABC: weak", "DEFG: strong")
    assert found.num_seeds == 3
    accuracies = [run.summary["test"]["accuracy"] for run in aligned.runs]
    weak = np.array([accuracies[1], accuracies[2], accuracies[0]])
    expected = stats.ttest_rel(weak, accuracies[3:6])
    assert found.t_p_value == pytest.approx(expected.pvalue)
    assert found.mean == pytest.approx((weak - accuracies[3:6]).mean())
    assert found.wilcoxon_p_value == pytest.approx(0.25)


def test_single_runs_have_no_test_over_seeds(make_run):
    paths = [make_run("x/seed-0"), make_run("y/seed-0", options={"epochs": 9})]
    assert comparison.compare_seeds(align_runs(find_classifiers(paths))) == []
