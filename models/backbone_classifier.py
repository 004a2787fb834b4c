"""An image classifier with two parts that may learn at different rates: a trunk and a head."""

# B batch, H W height width, D features, K classes

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from models.backbones import Backbone
from models.fusion import FusionModel

LUMINANCE: Final = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in what the eye takes for brightness (ITU-R BT.601)."""


class BackboneClassifier(nn.Module):
    """A backbone from a library with a head of our own.

    Args:
        backbone: The trunk, with the normalisation that it was pretrained with.
        head: Maps features (B, D) to logits (B, K).
        input_size: (H, W); None: that of the backbone.
        grayscale: Show the trunk the image's luminance in all three channels.

    Attributes:
        trunk: Maps normalised images to features.
        head: As given.
        input_size: (H, W) in pixels.
    """

    mean: Tensor
    std: Tensor
    luminance: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        input_size: tuple[int, int] | None = None,
        grayscale: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = backbone.trunk
        self.head = head
        self.input_size = input_size or backbone.input_size
        self.grayscale = grayscale
        for name, values in (
            ("mean", backbone.mean),
            ("std", backbone.std),
            ("luminance", LUMINANCE),
        ):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (B, K), of `images`, float (B, 3, H, W) in [0, 1]."""
        if self.grayscale:
            images = (images * self.luminance).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        logits: Tensor = self.head(self.trunk((images - self.mean) / self.std))
        return logits


def split_parameters(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of ``trunk`` and ``head``; a model without a trunk is all head.

    The trunk of a `FusionModel` are its encoders.
    """
    if isinstance(model, BackboneClassifier):
        trunk = set(model.trunk.parameters())
    elif isinstance(model, FusionModel):
        trunk = set(model.encoders.parameters())
    else:
        trunk = set()
    parts: dict[str, list[nn.Parameter]] = {"trunk": [], "head": []}
    for parameter in model.parameters():
        parts["trunk" if parameter in trunk else "head"].append(parameter)
    return parts
