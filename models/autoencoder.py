"""The convolutional autoencoder for unlabelled renal tiles."""

# B batch, H W height width

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from models.frozen import FrozenEncoder


class Autoencoder(nn.Module):
    """Three convolutions down to a latent map of 1/8 the side, three transposed ones back.

    134,691 parameters, of which the encoder, all that the fusion uses, has 93,248.
    """

    input_size: Final = 512
    latent_shape: Final = (128, 64, 64)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *_down(3, 32),
            *_down(32, 64),
            *_down(64, 128),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(128, 64, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 3, kernel_size=2, stride=2),
            nn.Sigmoid(),
        )

    def frozen_encoder(self) -> FrozenEncoder:
        """Return the encoder, frozen, as ``prcc``."""
        return FrozenEncoder("prcc", self.encoder, self.input_size, self.latent_shape)

    def forward(self, images: Tensor) -> Tensor:
        """Return reconstructions in [0, 1] of `images`, float (B, 3, H, W) in [0, 1], H W by 8."""
        reconstructions: Tensor = self.decoder(self.encoder(images))
        return reconstructions


def _down(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        # Before ReLU, which gives the same bits either way and so sees a quarter of the map.
        nn.MaxPool2d(2),
        nn.ReLU(),
    )
