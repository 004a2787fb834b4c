"""Cross-validation scores against scikit-learn and analytic cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from experiments.reporting import fold_scores
from experiments.reporting.load_runs import find_classifiers

SCORES = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "macro_f1": lambda labels, preds: f1_score(labels, preds, average="macro"),
}


@pytest.fixture
def make_folds(make_run):
    """A function that writes the runs of a model's folds; a fold's test images are its own."""

    def make(model, number=4, skill=1.0, shared_groups=False):
        paths = []
        for fold in range(number):
            path = make_run(f"{model}/fold-{fold}", skill=skill, seed=fold)
            frame = pd.read_csv(path / "predictions.csv", dtype={"group": str})
            frame["sample_id"] = f"{fold}/" + frame["sample_id"]
            if not shared_groups:
                frame["group"] = f"{fold}/" + frame["group"]
            frame.to_csv(path / "predictions.csv", index=False)
            paths.append(path)
        return find_classifiers(paths)

    return make


def test_mean_spread_and_pooled_score_equal_scikit_learn(make_folds):
    runs = make_folds("base")
    found = fold_scores.score_folds(runs)
    frames = [run.predictions() for run in runs]
    for name, score in SCORES.items():
        values = [score(frame["label"], frame["pred"]) for frame in frames]
        assert found[name].values == pytest.approx(values)
        assert found[name].mean == pytest.approx(np.mean(values))
        assert found[name].sd == pytest.approx(np.std(values, ddof=1))
        pooled = pd.concat(frames)
        assert found[name].pooled.value == pytest.approx(score(pooled["label"], pooled["pred"]))
        assert found[name].pooled.num_groups == 240


def test_two_models_are_compared_by_the_corrected_t_test(make_folds):
    """With k folds the variance of the mean is (1/k + 1/(k - 1)) s^2."""
    first, second = make_folds("strong", skill=2.5), make_folds("weak", skill=0.5)
    found = fold_scores.compare_folds(first, second)["accuracy"]
    differences = np.subtract(
        *(fold_scores.score_folds(runs)["accuracy"].values for runs in (first, second))
    )
    plain = stats.ttest_1samp(differences, 0).statistic
    assert found.statistic == pytest.approx(plain * np.sqrt((1 / 4) / (1 / 4 + 1 / 3)))
    assert found.degrees == 3


def test_groups_in_several_folds_are_told(make_folds):
    runs = make_folds("base", shared_groups=True)
    divided = fold_scores.find_divided_groups(runs)
    assert len(divided) == 60
    text = fold_scores.format_fold_scores(fold_scores.score_folds(runs), divided)
    assert "60 groups are tested in several folds" in text
    assert max(map(len, text.splitlines())) <= 80
    assert fold_scores.find_divided_groups(make_folds("other")) == []


def test_a_single_fold_and_other_folds_are_refused(make_folds):
    runs = make_folds("base")
    with pytest.raises(ValueError, match="two folds or more, not 1"):
        fold_scores.score_folds(runs[:1])
    with pytest.raises(ValueError, match="of other folds"):
        fold_scores.compare_folds(runs, make_folds("other", number=3))
