"""A linear probe: scaled multinomial logistic regression on frozen features."""

# N samples, D features, K classes

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
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
from datasets.views import NUM_VIEWS
from models.linear_probe import LEAST_PROB, LinearProbe, join_features
from trainers.outputs import Outputs
from trainers.soft_regression import LinearFit, StandardizedFit

Floats = NDArray[np.float64]

STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularization from which validation chooses."""
_MAX_STEPS: Final = 2000
_BATCH_SIZE: Final = 64
_NEVER: Final = -1e4
"""Logit of a class that training lacks."""


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
        probs = np.full((len(features), self.num_classes), LEAST_PROB)
        probs[:, self.pipeline[-1].classes_] = self.pipeline.predict_proba(features)
        return torch.from_numpy(probs).clamp_min(LEAST_PROB).log()

    def to_layers(self) -> StandardizedFit:
        """Return the same classifier as scaling and a linear layer."""
        scaler, model = self.pipeline[0], self.pipeline[-1]
        weight = np.zeros((self.num_classes, model.coef_.shape[1]))
        bias = np.full(self.num_classes, _NEVER)
        # Of two classes scikit-learn keeps the row of the second; the first is zero then.
        present = model.classes_[-len(model.coef_) :]
        bias[model.classes_] = 0.0
        weight[present], bias[present] = model.coef_, model.intercept_
        parts = (scaler.mean_, scaler.scale_, weight, bias)
        shift, scale, rows, offsets = (torch.from_numpy(part).float() for part in parts)
        return StandardizedFit(shift, scale, LinearFit(rows, offsets))


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
        features = [store.read(sample.content_key).double().unsqueeze(0) for store in stores]
        rows.append(torch.cat([join_features(part) for part in features], dim=1).squeeze(0).numpy())
    return np.stack(rows)


def read_views(samples: Sequence[Sample], stores: Sequence[FeatureLookup]) -> NDArray[np.float32]:
    """Return stored vectors of all views, (N, V, D), those of all stores joined."""
    keys = [sample.content_key for sample in samples]
    parts = [_read(store, keys, range(NUM_VIEWS)) for store in stores]
    return torch.cat(parts, dim=-1).float().numpy()


@torch.no_grad()
def apply_probe(
    probe: LinearProbe,
    samples: Sequence[Sample],
    labels: Sequence[int],
    stores: Mapping[str, FeatureLookup],
) -> Outputs:
    """Return the probe's log-probabilities for `samples`, from their stored features."""
    values = []
    for start in range(0, len(samples), _BATCH_SIZE):
        keys = [sample.content_key for sample in samples[start : start + _BATCH_SIZE]]
        features = {
            name: _read(store, keys, range(probe.num_views)) for name, store in stores.items()
        }
        if probe.num_views == 1:
            features = {name: views[:, 0] for name, views in features.items()}
        values.append(probe(torch.empty(0), features))
    return Outputs(torch.arange(len(samples)), torch.cat(values), torch.as_tensor(labels))


def _read(store: FeatureLookup, keys: Sequence[str], views: Sequence[int]) -> Tensor:
    """Return features (N, V, *feature_shape)."""
    return torch.stack([torch.stack([store.read(key, view) for view in views]) for key in keys])


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
