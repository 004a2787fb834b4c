"""A much smaller CNN that sees cells without colour."""

# B batch, K classes, H W height width

from __future__ import annotations

from itertools import pairwise
from typing import Final

from torch import Tensor, nn
from torchvision.transforms.functional import rgb_to_grayscale

# Fixed, not learnt. Zero is then a middle gray, which is also what the convolutions pad with.
_GRAY_MEAN: Final = 0.5
_GRAY_STD: Final = 0.25


class GrayCnn(nn.Module):
    """Classifies cells by form and texture alone: colour is what stains and cameras change most.

    RGB becomes luminance (0.299 R + 0.587 G + 0.114 B) inside the model. Then four times conv3x3,
    batch norm, ReLU and max-pool 2, 96 -> 48 -> 24 -> 12 -> 6 pixels, with 16, 32, 64, 96 channels;
    the mean over the map, and a linear layer. Each value of the last map sees 46x46 pixels. 79,381
    parameters with five classes, a 141st of ResNet-18's. Thanks to the mean other sizes of 16 or
    more pass too, but 96x96 is what it is made for.

    Args:
        num_classes: K.

    Attributes:
        input_size: (H, W) in pixels.
        trunk: Maps gray images to features (B, 96).
        head: Maps features to logits.
    """

    channels: Final = (16, 32, 64, 96)
    input_size: tuple[int, int] = (96, 96)

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in pairwise((1, *self.channels)):
            layers += [
                # No bias: batch norm would subtract it again.
                nn.Conv2d(inside, outside, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(self.channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (B, K), of `images`, float (B, 3, H, W) in [0, 1]."""
        gray = rgb_to_grayscale(images)
        logits: Tensor = self.head(self.trunk((gray - _GRAY_MEAN) / _GRAY_STD))
        return logits
