"""Wrong labels are found where they were put, and nothing is said where nothing can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from datasets.errors import DatasetError
from datasets.label_noise import find_suspects, predict_out_of_fold


def make_blobs(counts: tuple[int, ...], seed: int = 0):
    """Return features (N, 6) of classes whose centres lie 8 standard deviations from 0."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    features = generator.normal(size=(len(labels), 6))
    features[np.arange(len(labels)), labels] += 8
    return features, labels


def test_exchanged_labels_are_found_and_hardly_any_other():
    features, truth = make_blobs((80, 60, 40))
    exchanged = np.random.default_rng(1).choice(len(truth), 12, replace=False)
    labels = truth.copy()
    labels[exchanged] = (truth[exchanged] + 1) % 3
    probs = predict_out_of_fold(features, labels, [str(i) for i in range(180)], 3)
    suspects = find_suspects(probs, labels)
    found = {suspect.index for suspect in suspects}
    assert len(found & set(exchanged)) >= 11
    assert len(found - set(exchanged)) <= 2
    for suspect in suspects:
        assert suspect.label == labels[suspect.index] != suspect.pred
        assert suspect.pred_prob > suspect.label_prob
    margins = [suspect.label_prob - suspect.pred_prob for suspect in suspects]
    assert margins == sorted(margins)


def test_right_labels_are_left_alone():
    features, labels = make_blobs((60, 60, 60))
    probs = predict_out_of_fold(features, labels, [str(i) for i in range(180)], 3)
    assert find_suspects(probs, labels) == []


def test_no_image_is_predicted_by_a_model_that_saw_its_group():
    # Noise, but each group has a direction of its own: a model that saw the group knows its label.
    generator = np.random.default_rng(0)
    features = np.repeat(np.eye(40), 4, axis=0) * 10 + generator.normal(size=(160, 40)) * 0.1
    labels = np.repeat(generator.permutation([0, 1] * 20), 4)
    groups = np.repeat([f"patient {i}" for i in range(40)], 4)
    grouped = predict_out_of_fold(features, labels, groups.tolist(), 2)
    alone = predict_out_of_fold(features, labels, [str(i) for i in range(160)], 2)
    assert (alone.argmax(1) == labels).mean() > 0.9
    assert (grouped.argmax(1) == labels).mean() < 0.7


def test_a_class_of_one_image_is_not_judged_and_not_suspected():
    features, labels = make_blobs((30, 30, 1))
    probs = predict_out_of_fold(features, labels, [str(i) for i in range(61)], 3)
    assert np.isnan(probs[-1]).all()
    assert np.isfinite(probs[:-1]).all()
    assert np.allclose(probs[:-1].sum(1), 1)
    assert find_suspects(probs, labels) == []


@pytest.mark.parametrize(
    ("labels", "groups"),
    [([0, 0, 0], ["a", "b", "c"]), ([0, 0, 1], ["a", "a", "a"]), ([0, 1], ["a", "b"]), ([], [])],
)
def test_too_little_to_judge_anything_is_an_error(labels: list[int], groups: list[str]):
    with pytest.raises(DatasetError, match="two classes and two groups are needed"):
        predict_out_of_fold(np.zeros((len(labels), 2)), labels, groups, 2)


def test_rows_that_are_not_judged_are_not_suspected_and_change_nothing_else():
    features, truth = make_blobs((80, 60, 40))
    generator = np.random.default_rng(1)
    exchanged = generator.choice(len(truth), 12, replace=False)
    labels = truth.copy()
    labels[exchanged] = (truth[exchanged] + 1) % 3
    probs = predict_out_of_fold(features, labels, [str(i) for i in range(len(truth))], 3)
    expected = find_suspects(probs, labels)
    assert expected
    # Half of the rows are new and say nothing; one lacks a single value only.
    places = np.sort(generator.choice(2 * len(truth), len(truth), replace=False))
    wider = np.full((2 * len(truth), 3), np.nan)
    wider[np.setdiff1d(np.arange(len(wider)), places)[0], :2] = (0.99, 0.01)
    wider[places] = probs
    known = generator.integers(0, 3, len(wider))
    known[places] = labels
    moved = [replace(suspect, index=int(places[suspect.index])) for suspect in expected]
    assert find_suspects(wider, known) == moved


def test_only_what_both_prunings_choose_is_suspected():
    """On unsure predictions, of which either pruning chooses some that the other does not."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    probs = generator.dirichlet([1.0, 1.0, 1.0], len(labels))
    probs[np.arange(len(labels)), labels] += 0.3
    probs /= probs.sum(axis=1, keepdims=True)
    found = {suspect.index for suspect in find_suspects(probs, labels)}
    by_class, by_rate = (
        set(np.flatnonzero(find_label_issues(labels, probs, filter_by=rule, n_jobs=1)))
        for rule in ("prune_by_class", "prune_by_noise_rate")
    )
    assert found == by_class & by_rate
    assert by_class - by_rate, "only then does the one differ from both"
    assert by_rate - by_class, "and the other"
    assert found
