"""Soft labels for unlabelled cells, from prototypes that share them out among the classes."""

# L labelled, M unlabelled, D features, K classes

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_STEPS: Final = 20
_RATE: Final = 0.2
_SINKHORN_STEPS: Final = 50
_LEAST: Final = 1e-12


def share_out(
    labelled: Tensor, targets: Tensor, unlabelled: Tensor, sharpness: float
) -> tuple[Tensor, Tensor]:
    """Return prototypes (K, D) and soft labels (M, K) of the unlabelled samples.

    A prototype begins as the mean of its class. In each step the unlabelled samples are shared out
    among the prototypes so that classes have the shares that they have among the labelled ones, by
    Sinkhorn's algorithm (Cuturi 2013), and prototypes move a fifth of the way to the mean of all
    that is theirs: the transductive step of PT-MAP (Hu, Gripon and Pateux 2021, section 3.2). Label
    subsets are stratified, so these shares are those of the set but for rounding.

    Args:
        labelled: Float (L, D), unit length.
        targets: Float (L, K), one-hot; every class has a sample.
        unlabelled: Float (M, D), unit length.
        sharpness: Of the assignment: exp(-sharpness x squared distance).
    """
    prototypes = targets.T @ labelled / targets.sum(0)[:, None]
    shares = targets.mean(0)
    soft = torch.zeros(0, targets.shape[1], dtype=targets.dtype)
    if not len(unlabelled):
        return prototypes, soft
    everything = torch.cat([labelled, unlabelled])
    for _ in range(_STEPS):
        soft = _balance(_assign(unlabelled, prototypes, sharpness), shares)
        mass = torch.cat([targets, soft])
        means = mass.T @ everything / mass.sum(0)[:, None]
        prototypes = prototypes + _RATE * (means - prototypes)
    return prototypes, soft


def predict_nearest(
    features: Tensor, prototypes: Tensor, shares: Tensor, sharpness: float
) -> Tensor:
    """Return class probabilities (N, K) by distance from the prototypes, times class shares."""
    return functional.normalize(_assign(features, prototypes, sharpness) * shares, p=1, dim=1)


def _assign(features: Tensor, prototypes: Tensor, sharpness: float) -> Tensor:
    distance = torch.cdist(features, prototypes).square()
    return torch.exp(-sharpness * (distance - distance.amin(1, keepdim=True))) + _LEAST


def _balance(mass: Tensor, shares: Tensor) -> Tensor:
    """Scale rows and columns in turn until rows sum to 1 and columns to `shares` of all rows."""
    for _ in range(_SINKHORN_STEPS):
        mass = mass * (shares * len(mass) / mass.sum(0))
        mass = mass / mass.sum(1, keepdim=True)
    return mass
