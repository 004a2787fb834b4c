"""The strong recipe: what few labels, many unlabelled cells and frozen features give together."""

# N labelled, M unlabelled, V views, D features, C components, K classes

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from models.linear_probe import LEAST_PROB
from trainers.metrics import epoch_metrics
from trainers.pseudo_labels import predict_nearest, share_out
from trainers.soft_regression import LinearFit, StandardizedFit, fit_soft_regression

Floats = NDArray[np.float32]

_MOST_ROWS: Final = 20_000
"""Views of training images that the principal components are fitted on."""
_PROTOTYPE_WIDTHS: Final = (32, 64, 128)
_SHARPNESS: Final = (5.0, 10.0, 20.0)
_LOG_TEMPERATURES: Final = (-3.0, 3.0)


@dataclass(frozen=True)
class StrongConfig:
    """What the recipe is made of; `ablations.py --study strong` takes the parts away one by one.

    Attributes:
        train_views: Views of each training image: 1, or 8.
        test_views: Views over which a prediction is averaged: 1, or 8.
        smoothing: Share of a target's mass that is spread over all classes.
        is_balanced: Let classes weigh equally, whatever their number of cells.
        unlabelled_weights: Of an unlabelled training cell with its soft label, where a labelled one
            weighs 1; 0: such cells are not used. Validation chooses.
        strengths: Inverse regularization from which validation chooses.
        components: Principal components of the features, fitted on all training cells.
        seed: Of the components, which are found by random projections.
    """

    train_views: int = 8
    test_views: int = 8
    smoothing: float = 0.2
    is_balanced: bool = True
    unlabelled_weights: tuple[float, ...] = (0.0, 0.03, 0.1, 0.3)
    strengths: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 1e-1)
    components: int = 320
    seed: int = 0


def fit_strong_probe(
    train: tuple[Floats, Sequence[int]],
    unlabelled: Floats,
    val: tuple[Floats, Sequence[int]],
    classes: Sequence[str],
    config: StrongConfig,
) -> tuple[StandardizedFit, dict[str, Any]]:
    """Fit the recipe with each weight of unlabelled cells and each strength; return the best.

    That is the one with the largest sum of accuracy and balanced accuracy on validation; of equal
    ones that of least validation loss. Its probabilities are tempered on validation, too.

    Args:
        train: Features (N, V, D) and labels; every class has a cell.
        unlabelled: Features (M, V, D) of training cells whose labels are not used.
        val: Features and labels of validation.
        classes: Names, in the order of the label indices.
        config: Of the recipe.

    Returns:
        The classifier, and what validation chose with its scores.
    """
    space = _Space(np.concatenate([train[0], unlabelled]), config)
    seen, hidden, held_out = (space.project(part) for part in (train[0], unlabelled, val[0]))
    labels, val_labels = torch.as_tensor(train[1]), torch.as_tensor(val[1])
    targets = functional.one_hot(labels, len(classes)).float()

    def score(probs: Tensor) -> dict[str, float]:
        return epoch_metrics(probs.clamp_min(LEAST_PROB).log(), val_labels, classes)

    def rank(entry: tuple[dict[str, float], Any]) -> tuple[float, float]:
        metrics = entry[0]
        return metrics["accuracy"] + metrics["balanced_accuracy"], -metrics["loss"]

    weights = [w for w in config.unlabelled_weights if len(hidden) or not w] or [0.0]
    soft = torch.zeros(0, len(classes))
    how: dict[str, float] = {}
    if any(weights):
        parts = (seen.mean(1), hidden.mean(1), held_out.mean(1))
        tried = [
            (score(probs), (guess, facts))
            for probs, guess, facts in _guess_labels(*parts, targets, space.deviations)
        ]
        soft, how = max(tried, key=rank)[1]
    candidates = []
    for weight, strength in product(weights, config.strengths):
        fit = _fit(seen, targets, hidden, soft, weight, strength, config)
        metrics = score(fit.predict(held_out[:, : config.test_views]).mean(1))
        candidates.append((metrics, (fit, {"unlabelled_weight": weight, "strength": strength})))
    _, (fit, chosen) = max(candidates, key=rank)
    views = held_out[:, : config.test_views]
    temperature = _find_temperature(fit, views, val_labels)
    fit = LinearFit(fit.weight / temperature, fit.bias / temperature)
    choices = {
        **chosen,
        **(how if chosen["unlabelled_weight"] else {}),
        "temperature": temperature,
        "val": score(fit.predict(views).mean(1)),
    }
    return StandardizedFit(space.shift, space.scale, space.unproject(fit)), choices


class _Space:
    """The principal components of scaled features, fitted on all training cells' views."""

    def __init__(self, features: Floats, config: StrongConfig) -> None:
        scaler = StandardScaler().fit(features.mean(1, dtype=np.float64))
        self.shift = torch.from_numpy(scaler.mean_).float()
        self.scale = torch.from_numpy(scaler.scale_).float()
        rows = self._standardize(features[:, : config.train_views]).flatten(0, 1).numpy()
        if len(rows) > _MOST_ROWS:
            chosen = np.random.default_rng(config.seed).choice(len(rows), _MOST_ROWS, replace=False)
            rows = rows[np.sort(chosen)]
        components = min(config.components, *rows.shape)
        # The exact solver takes the cube of thousands of features.
        pca = PCA(components, svd_solver="randomized", random_state=config.seed).fit(rows)
        self._components = torch.from_numpy(pca.components_).float()
        self._center = torch.from_numpy(pca.mean_).float()
        self.deviations = self.project(features).mean(1).std(0).clamp_min(1e-6)

    def project(self, features: Floats) -> Tensor:
        """Return (N, V, C) of `features` (N, V, D)."""
        return (self._standardize(features) - self._center) @ self._components.T

    def unproject(self, fit: LinearFit) -> LinearFit:
        """Return the same classifier as one of standardized features."""
        weight = fit.weight @ self._components
        return LinearFit(weight, fit.bias - weight @ self._center)

    def _standardize(self, features: Floats) -> Tensor:
        return (torch.from_numpy(features) - self.shift) / self.scale


def _guess_labels(
    seen: Tensor, hidden: Tensor, held_out: Tensor, targets: Tensor, deviations: Tensor
) -> Iterator[tuple[Tensor, Tensor, dict[str, float]]]:
    """Yield validation probabilities, soft labels (M, K) and settings of each try."""
    for width in _PROTOTYPE_WIDTHS:
        # Half-way to whitening, which would make the last component as loud as the first.
        parts = [
            functional.normalize(part[:, :width] / deviations[:width].sqrt(), dim=1)
            for part in (seen, hidden, held_out)
        ]
        for sharpness in _SHARPNESS:
            prototypes, soft = share_out(parts[0], targets, parts[1], sharpness)
            probs = predict_nearest(parts[2], prototypes, targets.mean(0), sharpness)
            yield probs, soft, {"prototype_width": width, "sharpness": sharpness}


def _fit(
    seen: Tensor,
    targets: Tensor,
    hidden: Tensor,
    soft: Tensor,
    weight: float,
    strength: float,
    config: StrongConfig,
) -> LinearFit:
    features = torch.cat([seen, hidden]) if weight else seen
    mass = torch.cat([targets, soft]) if weight else targets
    weights = torch.cat([torch.ones(len(seen)), torch.full((len(features) - len(seen),), weight)])
    if config.is_balanced:
        by_class = (mass * weights[:, None]).sum(0)
        weights = weights * (mass @ (by_class.mean() / by_class))
    mass = mass * (1 - config.smoothing) + config.smoothing / mass.shape[1]
    views = config.train_views
    return fit_soft_regression(
        features[:, :views].flatten(0, 1),
        mass.repeat_interleave(views, dim=0),
        weights.repeat_interleave(views) / views,
        strength,
    )


def _find_temperature(fit: LinearFit, views: Tensor, labels: Tensor) -> float:
    """Return what logits are divided by for the least loss: smoothed targets make them too small.

    Guo et al. 2017, section 4.2, here before the mean over views.
    """

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        tempered = LinearFit(fit.weight / temperature, fit.bias / temperature)
        probs = tempered.predict(views).mean(1).clamp_min(LEAST_PROB)
        return functional.nll_loss(probs.log(), labels).item()

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(found.x))
