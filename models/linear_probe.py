"""A linear probe: one linear layer on the joined features of frozen encoders."""

# B batch, V views, D features of all encoders together, K classes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from models.depths import pool_map
from models.errors import ModelError
from models.frozen import Encoder

LEAST_PROB: Final = 1e-12
"""Of a class, e.g. of one that training lacked."""


class LinearProbe(nn.Module):
    """Scales the joined features of frozen encoders and applies one linear layer.

    Of an encoder that gives a map, mean and maximum of each channel are taken. With several views
    the class probabilities are averaged over them.

    Args:
        encoders: One or more, with different names.
        num_classes: K.
        num_views: V: 1, or 8 for all quarter turns, plain and mirrored.

    Attributes:
        shift: Float (D,), subtracted from the features.
        scale: Float (D,), divided by.
        linear: From D to K.
        input_size: Side of the images in pixels that stand for the cell; unused otherwise.

    Raises:
        ModelError: There is no encoder, or two share a name.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, encoders: Sequence[Encoder], num_classes: int, num_views: int = 1) -> None:
        super().__init__()
        names = [encoder.name for encoder in encoders]
        if not names or len(set(names)) < len(names):
            raise ModelError(f"A probe takes encoders of different names, not {names}.")
        self.num_views = num_views
        self.encoders = nn.ModuleDict({encoder.name: encoder for encoder in encoders})
        self.input_size = encoders[0].input_size
        width = sum(_width(encoder.feature_shape) for encoder in encoders)
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, num_classes)

    def forward(self, images: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return log-probabilities, float32 (B, K).

        Args:
            images: Not looked at: all that the model knows of a cell is in the features.
            features: Of each encoder by name: (B, *feature_shape), or (B, V, *feature_shape) where
                there are several views.
        """
        parts = [features[name].float() for name in self.encoders]
        if self.num_views == 1:
            parts = [part.unsqueeze(1) for part in parts]
        joined = torch.cat([join_features(part.flatten(0, 1)) for part in parts], dim=1)
        # In half precision the sum over thousands of features would be off in the second digit.
        with torch.autocast(joined.device.type, enabled=False):
            logits = self.linear((joined - self.shift) / self.scale)
        probs: Tensor = logits.softmax(dim=1).unflatten(0, (-1, self.num_views)).mean(dim=1)
        return probs.clamp_min(LEAST_PROB).log()


def join_features(features: Tensor) -> Tensor:
    """Return features (N, width) of vectors as they are, of maps (N, C, H, W) mean and maximum."""
    return pool_map(features, ("mean", "max")) if features.dim() == 4 else features


def _width(shape: Sequence[int]) -> int:
    return 2 * shape[0] if len(shape) == 3 else shape[0]
