"""Seeds and draws: the two-level bootstrap, paired tests and the learning curve's script."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC
from statsmodels.stats.weightstats import ttost_paired

from experiments import learning_curve
from experiments.reporting import repeat_statistics, repeat_tests, repeats, statistics
from experiments.reporting.load_runs import find_classifiers
from experiments.reporting.statistics import accuracy

LABELS = ["abc"[index % 3] for index in range(60)]


@pytest.fixture
def make_repeat(make_run):
    """A function that writes a run of a model on a draw, whose test images are its own."""

    def make(model, draw=0, seed=0, percent=10, *, skill=1.0, own_images=True, **kwargs):
        path = make_run(
            f"{model}/draw-{draw}/split-{percent}/seed-{seed}",
            LABELS,
            skill=skill,
            seed=1000 * draw + seed,
            options={"model": model, "split": percent, "data_root": f"data/draw-{draw}"},
            **kwargs,
        )
        summary = json.loads((path / "summary.json").read_text())
        summary |= {"label_percent": percent, "seed": seed}
        (path / "summary.json").write_text(json.dumps(summary))
        if own_images and draw:
            frame = pd.read_csv(path / "predictions.csv", dtype={"group": str})
            frame["sample_id"] = f"draw-{draw}/" + frame["sample_id"]
            frame["group"] = [str(int(group) + 30 * draw) for group in frame["group"]]
            frame.to_csv(path / "predictions.csv", index=False)
        return path

    return make


def cells_of(paths):
    return repeats.collect_cells(find_classifiers(paths))


def test_runs_are_sorted_by_model_share_draw_and_seed(make_repeat):
    paths = [
        make_repeat(model, draw, seed, percent)
        for model in ("fused", "base")
        for percent in (10, 1)
        for draw in (1, 0)
        for seed in (1, 0)
    ]
    found = cells_of(paths)
    assert [(cell.model, cell.label_percent) for cell in found] == [
        ("base", 1), ("base", 10), ("fused", 1), ("fused", 10),
    ]  # fmt: skip
    assert list(found[0].repeats) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    [first] = [p for p in paths if p.parts[-4:] == ("base", "draw-1", "split-1", "seed-0")]
    assert found[0].repeats[1, 0].run.path == first


def test_mean_and_spread_are_those_of_the_runs(make_repeat):
    paths = [make_repeat("base", draw, seed) for draw in (0, 1) for seed in (0, 1, 2)]
    table = repeat_statistics.build_repeat_table(cells_of(paths))
    [row] = table.to_dict("records")
    scores = [run.summary["test"]["accuracy"] for run in find_classifiers(paths)]
    assert (row["draws"], row["seeds"], row["runs"]) == (2, 3, 6)
    # The draws' groups are 0 to 59 and 30 to 89.
    assert (row["test_images"], row["test_groups"]) == (90, 90)
    assert row["accuracy"] == pytest.approx(np.mean(scores))
    assert row["accuracy_sd"] == pytest.approx(np.std(scores, ddof=1))
    values = [float(value) for value in row["accuracy_values"].split()]
    assert values == pytest.approx(scores, abs=1e-4)
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]


def test_draws_count_alike_whatever_their_seeds(make_repeat):
    paths = [make_repeat("base", 0, seed) for seed in range(4)] + [make_repeat("base", 1, 0)]
    [cell] = cells_of(paths)
    scores = cell.values(accuracy)
    expected = (np.mean(scores[:4]) + scores[4]) / 2
    assert repeat_statistics.estimate_cell(cell, accuracy).value == pytest.approx(expected)


def test_two_level_bootstrap_has_the_variance_of_the_pigeonhole_bootstrap(make_repeat):
    """Owen (2007): runs and groups are drawn with replacement, independently of each other.

    The exact variance of the mean of X (R, G) then is
    mean_rs mean_gh of E[u_r u_s] E[v_g v_h] X_rg X_sh less the squared mean, with
    E[u_r u_s] = 1 - 1/R + [r = s] of counts from a multinomial.
    """
    [cell] = cells_of([make_repeat("base", 0, seed) for seed in range(5)])
    right = np.array(
        [np.trace(repeat.confusions, axis1=1, axis2=2) for repeat in cell.repeats.values()], float
    )
    runs, groups = right.shape
    of_runs, of_groups = (1 - 1 / n + np.eye(n) for n in (runs, groups))
    second = np.einsum("rs,gh,rg,sh->", of_runs, of_groups, right, right) / (runs * groups) ** 2
    [draws] = repeat_statistics.bootstrap_cells([cell], accuracy)
    assert draws.mean() == pytest.approx(right.mean(), abs=0.005)
    assert draws.var() == pytest.approx(second - right.mean() ** 2, rel=0.1)


def test_a_single_run_has_the_interval_over_groups(make_repeat):
    [cell] = cells_of([make_repeat("base")])
    [draws] = repeat_statistics.bootstrap_cells([cell], accuracy)
    share = cell.values(accuracy)[0]
    assert draws.std() == pytest.approx(np.sqrt(share * (1 - share) / 60), rel=0.05)


def test_runs_that_differ_alone_have_the_spread_of_runs(make_repeat):
    """All images of a run right or all wrong: groups bring nothing, draws of runs all."""
    paths = [
        make_repeat("base", 0, seed, probs=np.roll(np.eye(3), shift, axis=0)[[0, 1, 2] * 20])
        for seed, shift in enumerate((0, 0, 0, 1))
    ]
    [cell] = cells_of(paths)
    [draws] = repeat_statistics.bootstrap_cells([cell], accuracy)
    assert draws.var() == pytest.approx(0.75 * 0.25 / 4, rel=0.08)


def test_seeds_are_drawn_within_draws():
    """Weights sum to 1; their variance is that of two nested levels."""
    generators = np.random.default_rng(1), np.random.default_rng(2)
    weights = repeat_statistics._draw_runs(*generators, 40_000, [[0, 1], [2, 3, 4]])
    assert weights.sum(axis=1) == pytest.approx(1)
    assert weights.mean(axis=0) == pytest.approx([1 / 4] * 2 + [1 / 6] * 3, abs=0.005)
    # Over draws: counts of the first are binomial (2, 1/2), halved.
    assert weights[:, :2].sum(axis=1).var() == pytest.approx(0.125, rel=0.03)


def test_corrected_t_of_the_published_example():
    """Scikit-learn, "Statistical comparison of models using grid search": t 0.750, p 0.227.

    Ten times ten folds of 100 points; p is one-sided there.
    """
    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(SVC(kernel=kernel, random_state=0), x, y, cv=folds, scoring="roc_auc")
        for kernel in ("rbf", "linear")
    )
    found = repeat_tests.run_corrected_t(rbf - linear, 0.1)
    assert found.statistic == pytest.approx(0.750, abs=5e-4)
    assert found.p_value / 2 == pytest.approx(0.227, abs=5e-4)
    assert found.degrees == 99


def test_without_overlap_it_is_the_t_test():
    differences = np.array([0.02, 0.05, -0.01, 0.03, 0.04])
    found = repeat_tests.run_corrected_t(differences, 1e-12)
    expected = stats.ttest_1samp(differences, 0)
    assert (found.statistic, found.p_value) == pytest.approx(tuple(expected))


def test_at_the_bound_two_one_sided_tests_just_reject():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.9, 0.02, (2, 12))
    bound = repeat_tests.run_corrected_t(first - second, 1e-12).equivalence_bound()
    p_value, *_ = ttost_paired(first, second, -bound, bound)
    assert p_value == pytest.approx(0.05)


@pytest.mark.parametrize(("number", "fraction"), [(1, 0.2), (5, 0.0), (5, 1.0)])
def test_corrected_t_refuses_what_it_cannot_use(number, fraction):
    with pytest.raises(ValueError, match="two differences or more"):
        repeat_tests.run_corrected_t(np.zeros(number), fraction)


def test_equal_differences_need_no_spread():
    assert repeat_tests.run_corrected_t(np.zeros(3), 0.2).p_value == 1
    assert repeat_tests.run_corrected_t(np.full(3, 0.5), 0.2).p_value == 0


def test_with_several_draws_a_draw_counts_once(make_repeat):
    paths = [
        make_repeat(model, draw, seed, skill=skill)
        for model, skill in (("strong", 2.0), ("weak", 0.5))
        for draw in range(3)
        for seed in range(2)
    ]
    cells = cells_of(paths)
    tests = {test.metric: test for test in repeat_tests.compare_cells(cells)}
    found = tests["accuracy"]
    strong, weak = (np.array(cell.values(accuracy)).reshape(3, 2).mean(axis=1) for cell in cells)
    assert (found.unit, found.units, found.runs) == ("draw", 3, (6, 6))
    assert found.t_p == pytest.approx(stats.ttest_rel(strong, weak).pvalue)
    assert found.mean == pytest.approx((strong - weak).mean())
    assert found.low < found.mean < found.high
    # Train, validation and test hold 60 images each; train is 10 % of its whole here.
    corrected = repeat_tests.run_corrected_t(strong - weak, 60 / (600 + 60 + 60))
    assert found.corrected_t_p == pytest.approx(corrected.p_value)
    assert found.corrected_t_p > found.t_p
    assert (found.bound, found.bound_by) == (corrected.equivalence_bound(), "corrected t")


def test_with_several_draws_all_seeds_of_both_models_count(make_repeat):
    """A model that does not depend on the seed has one run a draw."""
    paths = [make_repeat("fixed", draw, 0, skill=1.0) for draw in range(3)]
    paths += [make_repeat("varied", draw, seed, skill=0.5) for draw in range(3) for seed in (0, 7)]
    cells = cells_of(paths)
    fixed, varied = (np.array(cell.values(accuracy)).reshape(3, -1).mean(1) for cell in cells)
    found = {test.metric: test for test in repeat_tests.compare_cells(cells)}["accuracy"]
    assert found.runs == (3, 6)
    assert found.values == pytest.approx(fixed - varied)
    assert found.low < found.mean < found.high


def test_the_same_draws_are_drawn_for_models_with_other_numbers_of_seeds(make_repeat, monkeypatch):
    """Else the interval of a difference would hold the spread of draws, which both share."""
    monkeypatch.setattr(statistics, "_MAX_DRAWN_AT_ONCE", 10_000)  # Many batches.
    paths = [make_repeat("a", draw, 0, skill=draw) for draw in range(4)]
    paths += [make_repeat("b", draw, seed, skill=draw) for draw in range(4) for seed in range(3)]
    first, second = repeat_statistics.bootstrap_cells(cells_of(paths), accuracy)
    assert np.corrcoef(first, second)[0, 1] > 0.8


def test_with_one_draw_a_seed_counts_and_nothing_is_corrected(make_repeat):
    paths = [
        make_repeat(name, 0, seed, skill=s) for name, s in (("a", 1), ("b", 2)) for seed in (0, 1)
    ]
    found = repeat_tests.compare_cells(cells_of(paths))[0]
    assert (found.unit, found.units, found.bound_by) == ("seed", 2, "bootstrap")
    assert np.isnan(found.corrected_t_p)
    assert found.bound >= abs(found.mean)


def test_draws_on_the_same_test_images_are_not_corrected(make_repeat):
    paths = [
        make_repeat(name, draw, skill=skill, own_images=False)
        for name, skill in (("a", 1), ("b", 2))
        for draw in (0, 1, 2)
    ]
    found = repeat_tests.compare_cells(cells_of(paths))[0]
    assert (found.unit, found.bound_by) == ("draw", "bootstrap")


def test_a_model_does_not_differ_from_itself_and_the_bound_is_zero(make_repeat):
    paths = [make_repeat(name, 0, seed) for name in ("a", "b") for seed in (0, 1)]
    found = repeat_tests.compare_cells(cells_of(paths))[0]
    assert (found.mean, found.low, found.high, found.bound, found.t_p) == (0, 0, 0, 0, 1)


def test_holm_goes_over_the_comparisons_with_the_reference(make_repeat):
    skills = {"a": 0.5, "b": 1.0, "c": 2.0}
    paths = [
        make_repeat(name, 0, seed, skill=skill)
        for name, skill in skills.items()
        for seed in range(4)
    ]
    cells = cells_of(paths)
    tests = [t for t in repeat_tests.compare_cells(cells, "b") if t.metric == "accuracy"]
    assert [(test.first, test.second) for test in tests] == [("a", "b"), ("c", "b")]
    low, high = sorted(test.t_p for test in tests)
    assert sorted(test.holm["t_p"] for test in tests) == pytest.approx(
        [min(1, 2 * low), max(high, min(1, 2 * low))]
    )
    assert len([t for t in repeat_tests.compare_cells(cells) if t.metric == "accuracy"]) == 3
    with pytest.raises(ValueError, match="no model 'd' for --reference. There are: a, b, c"):
        repeat_tests.compare_cells(cells, "d")


def test_the_script_prints_and_writes(make_repeat, tmp_path, capsys):
    for model, skill in (("base", 0.5), ("fused", 2.0)):
        for percent in (1, 100):
            for draw in (0, 1):
                make_repeat(model, draw, 0, percent, skill=skill, is_synthetic=True)
    out = tmp_path / "out"
    tables = learning_curve.main(learning_curve.Options(runs=(tmp_path / "runs",), out=out))
    text = capsys.readouterr().out
    assert text.startswith("SYNTHETIC data")
    assert "nan" not in text
    assert {path.name for path in out.iterdir()} == {
        "learning_curve.txt", "learning_curve.png", "repeats.csv", "tests.csv",
    }  # fmt: skip
    assert max(map(len, (out / "learning_curve.txt").read_text().splitlines())) <= 80
    assert len(tables["repeats"]) == 4
    assert len(tables["tests"]) == 2 * 3
    assert np.asarray(Image.open(out / "learning_curve.png")).std() > 5


def test_one_model_has_no_tests(make_repeat, capsys):
    tables = learning_curve.main(learning_curve.Options(runs=(make_repeat("base"),)))
    assert tables["tests"].empty
    assert "nothing to test" in capsys.readouterr().out


def test_other_images_on_the_same_draw_are_refused(make_repeat):
    paths = [make_repeat("a"), make_repeat("b")]
    frame = pd.read_csv(paths[1] / "predictions.csv", dtype={"group": str})
    frame["sample_id"] += "x"
    frame.to_csv(paths[1] / "predictions.csv", index=False)
    with pytest.raises(ValueError, match="both on draw 0 and were tested on different images"):
        cells_of(paths)


def test_class_lists_that_differ_are_named_with_a_way_out(make_repeat):
    paths = [make_repeat("base"), make_repeat("other", classes=("a", "b", "c", "d"))]
    with pytest.raises(ValueError, match=r"a, b, c there, a, b, c, d here.*RUNS/base_wbc"):
        cells_of(paths)


def test_models_that_learnt_from_different_numbers_of_images_are_told(make_repeat, capsys):
    paths = tuple(
        make_repeat(model, seed=seed, percent=percent)
        for model in ("base", "fused")
        for seed in (0, 1)
        for percent in (10, 50)
    )
    learning_curve.main(learning_curve.Options(runs=paths))
    assert "learnt from" not in capsys.readouterr().out
    for seed, number in ((0, 7), (1, 8)):
        [path] = [
            p for p in paths if p.parts[-4:] == ("base", "draw-0", "split-10", f"seed-{seed}")
        ]
        content = json.loads((path / "summary.json").read_text())
        content["splits"]["train"]["images"] = {"a": number}
        (path / "summary.json").write_text(json.dumps(content))
    learning_curve.main(learning_curve.Options(runs=paths))
    text = " ".join(capsys.readouterr().out.split())
    assert "With 10 % of the labels the models learnt from" in text
    assert "base from 7 to 8, fused from 60." in text
    assert "With 50 % of the labels" not in text


def test_synthetic_and_real_runs_are_not_mixed(make_repeat):
    with pytest.raises(ValueError, match="never share a table"):
        cells_of([make_repeat("a"), make_repeat("b", is_synthetic=True)])


def test_a_draw_is_read_from_the_configuration_first(make_run):
    run = find_classifiers([make_run("draw-3/seed-0", config={"draw": 7})])[0]
    assert repeats.find_draw(run) == 7
    run = find_classifiers([make_run("x/draw-3/seed-0", options={"draw": None})])[0]
    assert repeats.find_draw(run) == 3
    assert repeats.find_draw(find_classifiers([make_run("plain")])[0]) == 0
