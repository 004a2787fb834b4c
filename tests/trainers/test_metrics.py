"""Metrics against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainers import metrics

CLASSES = ("a", "b", "c")
LABELS = torch.tensor([0, 0, 0, 1])
LOGITS = torch.log(
    torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2]])
)


def test_test_metrics_equal_hand_calculation():
    result = metrics.test_metrics(LOGITS, LABELS, CLASSES)
    assert result["accuracy"] == pytest.approx(3 / 4)
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    expected_loss = -(math.log(0.8) + math.log(0.6) + math.log(0.1) + math.log(0.7)) / 4
    assert result["loss"] == pytest.approx(expected_loss)
    assert result["confusion_matrix"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert result["per_class"]["a"] == pytest.approx(
        {"precision": 1, "recall": 2 / 3, "f1": 0.8, "support": 3}
    )
    squares = (
        (0.04 + 0.01 + 0.01) + (0.16 + 0.04 + 0.04) + (0.81 + 0.64 + 0.01) + (0.01 + 0.09 + 0.04)
    )
    assert result["brier"] == pytest.approx(squares / 4)
    # Bins of a 15th: 0.8 holds one right and one wrong, 0.6 and 0.7 one right each.
    assert result["expected_calibration_error"] == pytest.approx(
        (2 * 0.3 + 0.4 + 0.3) / 4, abs=1e-6
    )


def test_loss_by_class_is_the_mean_over_its_samples():
    result = metrics.epoch_metrics(LOGITS, LABELS, CLASSES)
    assert result["loss_by_class/b"] == pytest.approx(-math.log(0.7))
    assert "loss_by_class/c" not in result


def test_restricted_scores_choose_among_the_classes_present():
    logits = torch.tensor(
        [[9.0, 2.0, 1.0], [0.0, 1.0, 2.0], [0.0, 3.0, 2.0], [5.0, 0.0, 4.0], [7.0, 1.0, 0.0]]
    )
    labels = torch.tensor([1, 2, 2, 2, 2])
    found = metrics.test_metrics(logits, labels, ("a", "b", "c"))
    assert found["accuracy"] == pytest.approx(1 / 5)
    restricted = found["restricted"]
    assert restricted["classes"] == ["b", "c"]
    # Without a the predictions are b, c, b, c, b.
    assert restricted["accuracy"] == pytest.approx(3 / 5)
    assert restricted["balanced_accuracy"] == pytest.approx((1 + 2 / 4) / 2)
    f1_b, f1_c = 2 * 1 / (3 + 1), 2 * 2 / (2 + 4)
    assert restricted["macro_f1"] == pytest.approx((f1_b + f1_c) / 2)


def test_split_with_all_classes_has_no_restricted_scores():
    found = metrics.test_metrics(torch.eye(3), torch.arange(3), ("a", "b", "c"))
    assert "restricted" not in found
