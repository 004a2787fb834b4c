"""The white blood cell CNN, after ResNet-9."""

# B batch, C channels, H W height width

from __future__ import annotations

from typing import Final

from torch import Tensor, nn


class WbcCnn(nn.Module):
    """Classifies a cell; trained from scratch, alone (base) or as a part of the fusion.

    Two blocks with pooling and two residual sums at 64x64, two more blocks and sums at 16x16, then
    a small dense head: 175,533 parameters with five classes and 64 channels.

    Args:
        num_classes: K.
        channels: Of the first maps; later ones have a half, a quarter and an eighth of them.
    """

    input_size: Final = 256

    def __init__(self, num_classes: int = 5, channels: int = 64) -> None:
        super().__init__()
        half, quarter, eighth = channels // 2, channels // 4, channels // 8
        self.stem = nn.Sequential(
            _block(3, channels, pool=True), _block(channels, channels, pool=True)
        )
        self.residual1 = _block(channels, channels)
        self.residual2 = _block(channels, channels)
        self.reduce = nn.Sequential(
            _block(channels, half, pool=True), _block(half, quarter, pool=True)
        )
        self.residual3 = _block(quarter, quarter)
        self.residual4 = _block(quarter, quarter)
        self.head = nn.Sequential(
            nn.Conv2d(quarter, eighth, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(eighth * 8 * 8, 64),
            nn.ReLU(),
            nn.Linear(64, 8),
            nn.ReLU(),
            nn.Linear(8, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (B, num_classes), of `images`, float (B, 3, 256, 256) in [0, 1]."""
        a = self.stem(images)
        b = self.residual1(a) + a
        c = a + self.residual2(b) + b
        d = self.reduce(c)
        e = self.residual3(d) + d
        f = d + self.residual4(e) + e
        logits: Tensor = self.head(f)
        return logits


def _block(in_channels: int, out_channels: int, *, pool: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
    ]
    if pool:
        # Before ReLU, which gives the same bits either way and so sees a quarter of the map.
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.ReLU())
