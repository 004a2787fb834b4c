"""A linear probe: scaled multinomial logistic regression on frozen features."""

# N samples, D features, K classes

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from datasets.images import FeatureLookup
from datasets.samples import Sample

Floats = NDArray[np.float64]

STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularization from which validation chooses."""
_MAX_STEPS: Final = 2000
_LEAST_PROB: Final = 1e-12


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        pipeline: Scaler and regression.
        num_classes: K, of which the training samples may lack some.
        strength: The inverse regularization that validation chose.
        val_loss: Mean cross-entropy of validation in nats, with it.
    """

    pipeline: Pipeline
    num_classes: int
    strength: float
    val_loss: float

    @property
    def num_parameters(self) -> int:
        """Weights and biases of the regression."""
        model = self.pipeline[-1]
        return int(model.coef_.size + model.intercept_.size)

    def predict(self, features: Floats) -> Tensor:
        """Return log-probabilities, float64 (N, K), of `features` (N, D)."""
        probs = np.full((len(features), self.num_classes), _LEAST_PROB)
        probs[:, self.pipeline[-1].classes_] = self.pipeline.predict_proba(features)
        return torch.from_numpy(probs).clamp_min(_LEAST_PROB).log()


def fit_probe(
    train: tuple[Floats, Sequence[int]],
    val: tuple[Floats, Sequence[int]],
    num_classes: int,
    *,
    is_balanced: bool,
) -> Probe:
    """Fit a probe for each of `STRENGTHS` and return that of least validation loss.

    Args:
        train: Features (N, D) and labels.
        val: The same of validation.
        num_classes: K.
        is_balanced: Weigh classes by the inverse of their frequency.
    """
    probes = [_fit(train, val, num_classes, strength, is_balanced) for strength in STRENGTHS]
    return min(probes, key=lambda probe: probe.val_loss)


def pool_features(samples: Sequence[Sample], stores: Sequence[FeatureLookup]) -> Floats:
    """Return the stored features of `samples`, (N, D); of a map, the mean and the maximum over it.

    They are read a sample at a time, so that maps are never all in memory.
    """
    rows = []
    for sample in samples:
        parts = []
        for store in stores:
            features = store.read(sample.content_key).double()
            is_map = features.dim() == 3
            parts += [features.mean((1, 2)), features.amax((1, 2))] if is_map else [features]
        rows.append(torch.cat(parts).numpy())
    return np.stack(rows)


def _fit(
    train: tuple[Floats, Sequence[int]],
    val: tuple[Floats, Sequence[int]],
    num_classes: int,
    strength: float,
    is_balanced: bool,
) -> Probe:
    weight = "balanced" if is_balanced else None
    pipeline = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=strength, class_weight=weight, max_iter=_MAX_STEPS),
    )
    with warnings.catch_warnings():
        # With hardly any regularization on few samples; validation then prefers another strength.
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(train[0], np.asarray(train[1]))
    probe = Probe(pipeline, num_classes, strength, float("nan"))
    loss = torch.nn.functional.nll_loss(probe.predict(val[0]), torch.as_tensor(val[1])).item()
    return Probe(pipeline, num_classes, strength, loss)
