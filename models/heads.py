"""Heads: what turns a trunk's features into logits."""

# B batch, D features, K classes

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal, get_args

from torch import nn

from models.errors import ModelError
from models.small_cnn import VARIANTS, DenseStack

Head = Literal["linear", "tapered", "dense-stack"]
"""linear: one layer. tapered: of the Xception system. dense-stack: of the small-CNN ladder."""

TAPERED_WIDTHS: Final = (1024, 512, 128, 64, 8)


def build_head(head: Head, num_features: int, num_classes: int, dropout: float = 0.0) -> nn.Module:
    """Return a head that maps features (B, D) to logits (B, K).

    Args:
        head: ``linear``; ``tapered``, linear 1024, 512, 128, 64, 8 with ReLU and K, dropout before
            each; or ``dense-stack``, a `DenseStack` of the ladder's widest hidden layers.
        num_features: D.
        num_classes: K.
        dropout: Probability, before each linear layer; in a dense stack after each hidden one.

    Raises:
        ModelError: No such head.
    """
    if head == "linear":
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(num_features, num_classes))
    if head == "dense-stack":
        widths = VARIANTS["overfit"].hidden_sizes
        return DenseStack(num_features, widths, num_classes, dropout=dropout)
    if head != "tapered":
        raise ModelError(f"head {head!r} is none of {', '.join(get_args(Head))}.")
    layers: list[nn.Module] = []
    for inside, outside in pairwise((num_features, *TAPERED_WIDTHS, num_classes)):
        layers += [nn.Dropout(dropout), nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
