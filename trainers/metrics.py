"""Metrics of a classified split."""

# N samples, K classes

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_calibration_error

CALIBRATION_BINS = 15


def epoch_metrics(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """Return what is followed from epoch to epoch, by tag.

    Args:
        logits: Float (N, K).
        labels: Int (N,).
        classes: K names.

    Returns:
        ``loss`` (mean cross-entropy in nats), ``accuracy``, ``balanced_accuracy``, ``macro_f1``,
        each in [0, 1], and ``loss_by_class/<name>`` for every class that is there.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none")
    preds = logits.argmax(dim=1)
    metrics = {"loss": losses.mean().item(), **_agreement(labels, preds, len(classes))}
    for index, name in enumerate(classes):
        of_class = losses[labels == index]
        if len(of_class):
            metrics[f"loss_by_class/{name}"] = of_class.mean().item()
    return metrics


def test_metrics(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Return everything that a summary reports of the test split.

    Args:
        logits: Float (N, K).
        labels: Int (N,).
        classes: K names.

    Returns:
        ``loss``, ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``expected_calibration_error``
        (15 equal bins, L1), ``brier`` (sum of squares over classes, in [0, 2]), ``per_class``
        {precision, recall, f1, support}, ``confusion_matrix`` (rows true, columns predicted). Where
        the split lacks classes also ``restricted``, see `restricted_metrics`.
    """
    probs = logits.double().softmax(dim=1)
    preds = logits.argmax(dim=1)
    every = list(range(len(classes)))
    by_class = precision_recall_fscore_support(labels, preds, labels=every, zero_division=0)
    metrics = {
        "loss": functional.cross_entropy(logits, labels).item(),
        **_agreement(labels, preds, len(classes)),
        "expected_calibration_error": multiclass_calibration_error(
            probs, labels, num_classes=len(classes), n_bins=CALIBRATION_BINS
        ).item(),
        "brier": float(brier_score_loss(labels, probs, labels=every, scale_by_half=False)),
        "per_class": {
            name: {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for name, precision, recall, f1, support in zip(classes, *by_class, strict=True)
        },
        "confusion_matrix": confusion_matrix(labels, preds, labels=every).tolist(),
    }
    if len(torch.unique(labels)) < len(classes):
        metrics["restricted"] = restricted_metrics(logits, labels, classes)
    return metrics


def restricted_metrics(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Return scores of a split that lacks classes, when the model may name only those it holds.

    Beside the unrestricted scores they tell a model that mistakes one present class for another
    from one that names classes which the split cannot hold.

    Args:
        logits: Float (N, K).
        labels: Int (N,).
        classes: K names.

    Returns:
        ``classes`` (those present), ``accuracy``, ``balanced_accuracy``, ``macro_f1``, each over
        the classes present.
    """
    present, known = torch.unique(labels, return_inverse=True)
    names = [classes[index] for index in present.tolist()]
    preds = logits[:, present].argmax(dim=1)
    return {"classes": names, **_agreement(known, preds, len(names))}


def _agreement(labels: Tensor, preds: Tensor, num_classes: int) -> dict[str, float]:
    present = torch.unique(labels).tolist()
    every = list(range(num_classes))
    return {
        "accuracy": float(accuracy_score(labels, preds)),
        # The mean recall over the classes that the split holds.
        "balanced_accuracy": float(
            recall_score(labels, preds, labels=present, average="macro", zero_division=0)
        ),
        "macro_f1": float(f1_score(labels, preds, labels=every, average="macro", zero_division=0)),
    }
