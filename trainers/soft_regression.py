"""Multinomial logistic regression on soft targets."""

# N samples, D features, K classes

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_MAX_STEPS: Final = 60


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear classifier.

    Attributes:
        weight: Float (K, D).
        bias: Float (K,).
    """

    weight: Tensor
    bias: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Return class probabilities (..., K) of `features` (..., D)."""
        return functional.linear(features, self.weight, self.bias).softmax(dim=-1)


@dataclass(frozen=True)
class StandardizedFit:
    """A linear classifier of features that are scaled first.

    Attributes:
        shift: Float (D,), subtracted from the features.
        scale: Float (D,), divided by.
        fit: On what is left.
    """

    shift: Tensor
    scale: Tensor
    fit: LinearFit


def fit_soft_regression(
    features: Tensor, targets: Tensor, weights: Tensor, strength: float
) -> LinearFit:
    """Return the least weighted cross-entropy plus squared weights / (2 strength).

    Both are sums, as in scikit-learn's `LogisticRegression` with C = `strength`, which takes hard
    labels only. The problem is convex; L-BFGS begins at zero, so there is no chance in it.

    Args:
        features: Float (N, D).
        targets: Float (N, K), rows sum to 1.
        weights: Float (N,), of the samples.
        strength: Inverse of the regularization.
    """
    weight = torch.zeros(
        targets.shape[1], features.shape[1], dtype=features.dtype, requires_grad=True
    )
    bias = torch.zeros(targets.shape[1], dtype=features.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_MAX_STEPS, line_search_fn="strong_wolfe"
    )
    total = weights.sum()

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_probs = functional.linear(features, weight, bias).log_softmax(dim=1)
        loss = -(weights * (targets * log_probs).sum(1)).sum() + weight.square().sum() / (
            2 * strength
        )
        loss = loss / total
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return LinearFit(weight.detach(), bias.detach())
