"""The strong recipe and its parts, against scikit-learn, invariants and planted clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from trainers.pseudo_labels import predict_nearest, share_out
from trainers.soft_regression import fit_soft_regression
from trainers.strong_probe import StrongConfig, fit_strong_probe

CLASSES = ("a", "b", "c")
FAST = StrongConfig(components=16)


def make_clusters(
    counts: tuple[int, int, int], seed: int, width: int = 24, spread: float = 1.0
) -> tuple[NDArray[np.float32], list[int]]:
    """Return features (N, 8, width), whose views differ by a little noise, and labels."""
    centers = np.random.default_rng(0).normal(size=(3, width)) * 1.5
    rng = np.random.default_rng(seed)
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    cells = centers[labels] + spread * rng.normal(size=(len(labels), width))
    views = cells[:, None] + 0.3 * rng.normal(size=(len(labels), 8, width))
    return views.astype(np.float32), labels


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_with_hard_labels_it_is_the_regression_of_scikit_learn(strength: float):
    features, labels = make_clusters((30, 20, 10), seed=1)
    rows, weights = features[:, 0].astype(np.float64), np.linspace(0.5, 2, 60)
    expected = LogisticRegression(C=strength, tol=1e-8, max_iter=1000).fit(
        rows, labels, sample_weight=weights
    )
    fit = fit_soft_regression(
        torch.from_numpy(rows),
        functional.one_hot(torch.tensor(labels), 3).double(),
        torch.from_numpy(weights),
        strength,
    )
    assert np.allclose(fit.weight.numpy(), expected.coef_, atol=2e-3)
    probs = fit.predict(torch.from_numpy(rows)).numpy()
    assert np.allclose(probs, expected.predict_proba(rows), atol=2e-3)


def test_a_soft_target_is_a_sample_of_each_class_with_that_weight():
    features, _ = make_clusters((6, 6, 6), seed=2)
    rows = torch.from_numpy(features[:, 0]).double()
    targets = torch.rand(18, 3, generator=torch.Generator().manual_seed(0)).double()
    targets = targets / targets.sum(1, keepdim=True)
    soft = fit_soft_regression(rows, targets, torch.ones(18).double(), 0.5)
    split = fit_soft_regression(
        rows.repeat(3, 1),
        torch.eye(3).double().repeat_interleave(18, dim=0),
        targets.T.flatten(),
        0.5,
    )
    assert torch.allclose(soft.weight, split.weight, atol=1e-3)


def to_unit(features: NDArray[np.float32]) -> torch.Tensor:
    return functional.normalize(torch.from_numpy(features).mean(1), dim=1)


def test_unlabelled_cells_are_shared_out_as_the_labelled_ones_are():
    seen, labels = make_clusters((2, 4, 6), seed=3)
    hidden, _ = make_clusters((20, 40, 60), seed=4)
    targets = functional.one_hot(torch.tensor(labels), 3).float()
    _, soft = share_out(to_unit(seen), targets, to_unit(hidden), sharpness=10)
    assert torch.allclose(soft.sum(1), torch.ones(120), atol=1e-5)
    assert torch.allclose(soft.mean(0), targets.mean(0), atol=1e-3)


def test_one_cell_a_class_is_enough_where_clusters_are_far_apart():
    seen, labels = make_clusters((1, 1, 1), seed=5)
    hidden, truth = make_clusters((40, 40, 40), seed=6)
    targets = functional.one_hot(torch.tensor(labels), 3).float()
    prototypes, soft = share_out(to_unit(seen), targets, to_unit(hidden), sharpness=10)
    assert (soft.argmax(1) == torch.tensor(truth)).float().mean() > 0.95
    probs = predict_nearest(to_unit(hidden), prototypes, targets.mean(0), 10)
    assert torch.allclose(probs.sum(1), torch.ones(120))
    assert (probs.argmax(1) == torch.tensor(truth)).float().mean() > 0.95


def accuracy(config: StrongConfig, spread: float = 2.2) -> float:
    """Return accuracy of the recipe on 300 new cells, with two labels a class."""
    seen, labels = make_clusters((2, 2, 2), 7, spread=spread)
    hidden, _ = make_clusters((80, 80, 80), 8, spread=spread)
    val, val_labels = make_clusters((30, 30, 30), 9, spread=spread)
    test, truth = make_clusters((100, 100, 100), 10, spread=spread)
    fitted, choices = fit_strong_probe((seen, labels), hidden, (val, val_labels), CLASSES, config)
    assert set(choices) >= {"unlabelled_weight", "strength", "val"}
    rows = (torch.from_numpy(test) - fitted.shift) / fitted.scale
    probs = fitted.fit.predict(rows)[:, : config.test_views].mean(1)
    return float((probs.argmax(1) == torch.tensor(truth)).float().mean())


def test_unlabelled_cells_help_where_labels_are_few():
    with_them = accuracy(FAST)
    without = accuracy(replace(FAST, unlabelled_weights=(0.0,)))
    assert with_them > without + 0.03
    assert with_them > 0.85


def test_with_one_view_training_sees_the_first_only():
    seen, labels = make_clusters((20, 20, 20), seed=19)
    val = make_clusters((30, 30, 30), seed=20)
    seen[:, 0] = np.random.default_rng(0).normal(size=seen[:, 0].shape)
    scores = {}
    for views in (1, 8):
        config = replace(FAST, train_views=views)
        _, choices = fit_strong_probe((seen, labels), seen[:0], val, CLASSES, config)
        scores[views] = choices["val"]["accuracy"]
    assert scores[1] < 0.7 < 0.95 < scores[8]


def test_balancing_makes_a_rare_class_as_heavy_as_the_others():
    seen, labels = make_clusters((40, 40, 3), seed=11, spread=1.8)
    val = make_clusters((30, 30, 30), seed=12, spread=1.8)
    test, truth = make_clusters((100, 100, 100), seed=13, spread=1.8)
    recalls = {}
    for is_balanced in (False, True):
        config = replace(FAST, is_balanced=is_balanced, strengths=(0.01,), components=24)
        fitted, _ = fit_strong_probe((seen, labels), seen[:0], val, CLASSES, config)
        rows = (torch.from_numpy(test) - fitted.shift) / fitted.scale
        preds = fitted.fit.predict(rows).mean(1).argmax(1)
        recalls[is_balanced] = (preds[torch.tensor(truth) == 2] == 2).float().mean().item()
    assert recalls[True] > recalls[False] + 0.1


def test_probabilities_are_tempered_to_what_is_true_of_new_cells():
    seen, labels = make_clusters((20, 20, 20), seed=14, spread=1.8)
    val = make_clusters((100, 100, 100), seed=15, spread=1.8)
    test, truth = make_clusters((300, 300, 300), seed=21, spread=1.8)
    fitted, choices = fit_strong_probe((seen, labels), seen[:0], val, CLASSES, FAST)
    rows = (torch.from_numpy(test) - fitted.shift) / fitted.scale
    probs = fitted.fit.predict(rows).mean(1)
    correct = (probs.argmax(1) == torch.tensor(truth)).float().mean()
    assert choices["temperature"] < 0.8, "smoothing made them too small"
    assert probs.amax(1).mean().item() == pytest.approx(correct.item(), abs=0.05)


def test_the_same_call_gives_the_same_bits():
    seen, labels = make_clusters((2, 2, 2), seed=16)
    hidden, _ = make_clusters((30, 30, 30), seed=17)
    val = make_clusters((20, 20, 20), seed=18)
    first, second = (
        fit_strong_probe((seen, labels), hidden, val, CLASSES, FAST)[0] for _ in range(2)
    )
    assert torch.equal(first.fit.weight, second.fit.weight)
