"""The linear probe: chosen on validation, scaled, balanced, and honest about absent classes."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from trainers.probe import STRENGTHS, fit_probe, pool_features, read_views


def make_blobs(number: int, seed: int, counts: tuple[int, ...] | None = None):
    """Return features of three classes whose centres differ in one direction each."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), counts or number)
    features = generator.normal(size=(len(labels), 6)) * 10
    features[np.arange(len(labels)), labels] += 40
    return features, labels.tolist()


def test_a_probe_separates_what_is_separable():
    probe = fit_probe(make_blobs(30, 0), make_blobs(20, 1), 3, is_balanced=False)
    features, labels = make_blobs(50, 2)
    assert (probe.predict(features).argmax(1).numpy() == np.array(labels)).mean() > 0.95
    assert probe.num_parameters == 3 * 6 + 3


def test_the_strength_is_that_of_least_validation_loss():
    train, val = make_blobs(6, 0), make_blobs(20, 1)
    probe = fit_probe(train, val, 3, is_balanced=False)
    mean, sd = train[0].mean(0), train[0].std(0)
    losses = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=5000).fit((train[0] - mean) / sd, train[1])
        probs = model.predict_proba((val[0] - mean) / sd)
        losses.append(-np.log(probs[np.arange(len(val[1])), val[1]]).mean())
    assert probe.strength == STRENGTHS[int(np.argmin(losses))]
    assert np.isclose(probe.val_loss, min(losses), rtol=1e-3)


def test_balancing_raises_the_recall_of_a_rare_class():
    train = make_blobs(0, 0, (200, 200, 4))
    train[0][:] += np.random.default_rng(3).normal(size=train[0].shape) * 25
    test = make_blobs(200, 5)
    test[0][:] += np.random.default_rng(4).normal(size=test[0].shape) * 25
    recalls = []
    for is_balanced in (False, True):
        probe = fit_probe(train, test, 3, is_balanced=is_balanced)
        preds = probe.predict(test[0]).argmax(1).numpy()
        recalls.append((preds[np.array(test[1]) == 2] == 2).mean())
    assert recalls[1] > recalls[0]


def test_a_class_absent_from_training_has_hardly_any_probability():
    features, labels = make_blobs(20, 0)
    known = [index for index, label in enumerate(labels) if label != 1]
    train = features[known], [labels[index] for index in known]
    probe = fit_probe(train, train, 3, is_balanced=False)
    logs = probe.predict(features)
    assert logs.shape == (60, 3)
    assert logs[:, 1].max() < -20


class Store:
    def __init__(self, features: dict[str, torch.Tensor]) -> None:
        self.features = features

    def read(self, content_key: str) -> torch.Tensor:
        return self.features[content_key]


def test_maps_are_pooled_and_vectors_taken_as_they_are(toy_data):
    samples = toy_data.samples[:3]
    maps = {sample.content_key: torch.rand(4, 5, 5) for sample in samples}
    vectors = {sample.content_key: torch.rand(2) for sample in samples}
    pooled = pool_features(samples, [Store(maps), Store(vectors)])
    assert pooled.shape == (3, 4 + 4 + 2)
    first = samples[0].content_key
    expected = [*maps[first].mean((1, 2)), *maps[first].amax((1, 2)), *vectors[first]]
    assert np.allclose(pooled[0], expected)


class NumberedViews:
    def read(self, content_key: str, view: int = 0) -> torch.Tensor:
        return torch.tensor([float(view), 10.0 + view])


def test_the_views_of_a_sample_are_read_in_their_order_and_stores_joined(toy_data):
    views = read_views(toy_data.samples[:2], [NumberedViews(), NumberedViews()])
    expected = [[view, 10.0 + view] * 2 for view in range(8)]
    assert views.tolist() == [expected] * 2
