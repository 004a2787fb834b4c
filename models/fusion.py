"""Fusion of a cell CNN with the features of any number of encoders."""

# B batch, K classes, C channels, H W height width, D features, S side of an encoder's images

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.frozen import Encoder, FrozenEncoder
from models.wbc_cnn import WbcCnn

Combine = Literal["sum", "concat", "gated"]
LATENT_CHANNELS: Final = (256, 128, 64, 32)
_SMALLEST_MAP: Final = 4


class FusionModel(nn.Module):
    """A `WbcCnn` whose logits are combined with a vote of each encoder.

    Each encoder votes with K values: a feature map goes through a `LatentHead`, a vector of K
    features votes as it is (the source system's five Camelyon16 features), any other vector
    through one linear layer. With ``sum`` the votes and the CNN's logits are added, with
    ``concat`` joined, with ``gated`` added with weights that depend on the image (a softmax over a
    linear layer of all votes), and a linear layer gives the logits. Without encoders this is the
    base model: the CNN alone, no combination.

    A frozen encoder is not run here: its stored features are given. One that is trained looks at
    the images itself.

    Args:
        encoders: May be empty. They are moved and saved with the model.
        num_classes: K.
        combine: How votes are combined.
        cnn_channels: Of the `WbcCnn`.

    Raises:
        ModelError: Two encoders share a name, or `combine` is not known.
    """

    input_size: Final = WbcCnn.input_size

    def __init__(
        self,
        encoders: Sequence[Encoder] = (),
        num_classes: int = 5,
        combine: Combine = "sum",
        cnn_channels: int = 64,
    ) -> None:
        super().__init__()
        if combine not in get_args(Combine):
            raise ModelError(f"combine {combine!r} is none of {', '.join(get_args(Combine))}.")
        names = [encoder.name for encoder in encoders]
        if len(set(names)) < len(names):
            raise ModelError(f"Encoders must have different names, not {', '.join(names)}.")
        self.combine = combine
        self.wbc_cnn = WbcCnn(num_classes, cnn_channels)
        self.encoders = nn.ModuleDict({encoder.name: encoder for encoder in encoders})
        self.vote_heads = nn.ModuleDict(
            {encoder.name: _make_vote_head(encoder, num_classes) for encoder in encoders}
        )
        num_votes = 1 + len(encoders)
        self.gate = nn.Linear(num_votes * num_classes, num_votes) if combine == "gated" else None
        joined = num_votes * num_classes if combine == "concat" else num_classes
        self.combination = nn.Linear(joined, num_classes) if encoders else None

    def forward(self, images: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return logits, float (B, K).

        Args:
            images: Float (B, 3, 256, 256) in [0, 1].
            features: Of each frozen encoder by name, (B, *feature_shape), for the same cells; of
                any other the cells as it is to see them, float (B, 3, S, S) in [0, 1].
        """
        logits: Tensor = self.wbc_cnn(images)
        if self.combination is None:
            return logits
        votes = [logits]
        for name, head in self.vote_heads.items():
            values = (features or {})[name]
            encoder = self.encoders[name]
            if not isinstance(encoder, FrozenEncoder):
                values = encoder(values)
            votes.append(head(values.to(images.dtype)))
        combined: Tensor = self.combination(self._join(votes))
        return combined

    def _join(self, votes: list[Tensor]) -> Tensor:
        """Return the votes, each (B, K), as one (B, K), or with ``concat`` (B, votes x K)."""
        joined = torch.cat(votes, dim=1)
        if self.combine == "concat":
            return joined
        if self.gate is None:
            return torch.stack(votes).sum(0)
        weights = self.gate(joined).softmax(dim=1)
        return torch.einsum("bv,vbk->bk", weights, torch.stack(votes))


class LatentHead(nn.Module):
    """Turns a feature map (C, H, W) into K votes by four convolutions and a linear layer.

    Each step is conv3x3, ReLU, batch norm and, while the map is larger than 4x4, max-pool 2. For
    the autoencoder's latent (128, 64, 64) that is 64 -> 4 and 685,989 parameters with K = 5.
    """

    def __init__(self, feature_shape: Sequence[int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = feature_shape
        layers: list[nn.Module] = []
        for out_channels in LATENT_CHANNELS:
            layers += [
                nn.Conv2d(channels, out_channels, kernel_size=3, padding=1),
                nn.ReLU(),
                nn.BatchNorm2d(out_channels),
            ]
            if min(height, width) > _SMALLEST_MAP:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            channels = out_channels
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.linear = nn.Linear(channels * height * width, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return votes, float (B, K), of `features`, float (B, C, H, W)."""
        votes: Tensor = self.linear(self.layers(features))
        return votes


def _make_vote_head(encoder: Encoder, num_classes: int) -> nn.Module:
    shape = encoder.feature_shape
    if len(shape) == 3:
        return LatentHead(shape, num_classes)
    if shape == (num_classes,):
        return nn.Identity()
    return nn.Linear(shape[0], num_classes)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return the number of trained and of frozen parameters."""
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in module.parameters()) - trained
