"""The ladder of small CNNs for cells at 60x80: a baseline, one that overfits, its remedies."""

# B batch, K classes, H W height width, D features

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError


@dataclass(frozen=True)
class SmallCnnVariant:
    """What tells one network of the ladder from another."""

    hidden_sizes: tuple[int, ...]
    """Outputs of each dense layer before the last, which has one for each class."""
    conv_channels: tuple[int, ...] = (32, 64, 128)
    """Outputs of each convolution; a max-pool by 2 follows each."""
    dropout: float = 0.0
    """Probability in [0, 1) that an output of a hidden dense layer is dropped."""
    activity_l2: float = 0.0
    """Weight of the hidden dense layers' squared outputs."""
    kernel_l1: float = 0.0
    """Weight of the hidden dense layers' absolute weights."""
    kernel_l2: float = 0.0
    """Weight of the hidden dense layers' squared weights."""


_OVERFIT: Final = SmallCnnVariant((512, 256, 128, 64, 32))

# The source leaves open: the baseline's sizes, here the others' first convolution and last two
# dense layers; which network dropout and penalties were tried on, here the overfitting one, so
# that a single thing differs; and the final one's dropout, here 0.2, which there gave the better
# validation accuracy (89.37 % against 88.97 % with 0.4).
VARIANTS: Final[dict[str, SmallCnnVariant]] = {
    "baseline": SmallCnnVariant((32,), conv_channels=(32,)),
    "overfit": _OVERFIT,
    "dropout-0.2": replace(_OVERFIT, dropout=0.2),
    "dropout-0.4": replace(_OVERFIT, dropout=0.4),
    "reduced": SmallCnnVariant((128, 64, 32)),
    "l2-activity": replace(_OVERFIT, activity_l2=0.005),
    "l1-l2": replace(_OVERFIT, kernel_l1=1e-4, kernel_l2=1e-4),
    "final": SmallCnnVariant((64, 32), dropout=0.2),
}


class SmallCnn(nn.Module):
    """Convolutions 3x3 without padding, each with ReLU and max-pool 2, then a `DenseStack`.

    At 60x80 three of them leave 58x78 -> 29x39 -> 27x37 -> 13x18 -> 11x16 -> 5x8, in 128 channels
    5,120 values. With five classes `overfit` (so too with dropout or penalties) has 2,889,925
    parameters, `reduced` 759,237, `final` 423,237 as in the source, and `baseline`, whose sizes
    the source does not give, 1,159,237. Images are taken as they are, without normalisation.
    Weights start Glorot-uniform and biases at zero as in Keras, whose terms the source uses.

    Args:
        variant: One of `VARIANTS`.
        num_classes: K.

    Attributes:
        input_size: (H, W) in pixels.
        trunk: Maps images to D features.
        head: Maps features to logits.
        penalty: See `DenseStack`; add it to the loss.

    Raises:
        ModelError: `variant` has more convolutions than 60x80 pixels can bear.
    """

    input_size: tuple[int, int] = (60, 80)

    def __init__(self, variant: SmallCnnVariant, num_classes: int = 5) -> None:
        super().__init__()
        height, width = self.input_size
        layers: list[nn.Module] = []
        for inside, outside in pairwise((3, *variant.conv_channels)):
            layers += [nn.Conv2d(inside, outside, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2)]
            height, width = (height - 2) // 2, (width - 2) // 2
        if min(height, width) < 1:
            raise ModelError(
                f"{len(variant.conv_channels)} convolutions with pooling leave nothing of "
                f"{self.input_size[0]}x{self.input_size[1]} pixels; allowed are at most 4."
            )
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.head = DenseStack(
            height * width * (3, *variant.conv_channels)[-1],
            variant.hidden_sizes,
            num_classes,
            dropout=variant.dropout,
            activity_l2=variant.activity_l2,
            kernel_l1=variant.kernel_l1,
            kernel_l2=variant.kernel_l2,
        )
        _init_like_keras(self)

    @property
    def penalty(self) -> Tensor:
        """Of the last forward, a scalar that bears gradients in training and is 0 otherwise."""
        return self.head.penalty

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (B, K), of `images`, float (B, 3, 60, 80) in [0, 1].

        Raises:
            ModelError: The images have another shape.
        """
        if images.shape[1:] != (3, *self.input_size):
            raise ModelError(
                f"The small CNN takes images (B, 3, 60, 80), not {tuple(images.shape)}: resize "
                "them to its input_size, height first."
            )
        logits: Tensor = self.head(self.trunk(images))
        return logits


class DenseStack(nn.Module):
    """Hidden dense layers with ReLU and dropout, then a linear layer: features to logits.

    The head of the ladder's networks, and of a frozen VGG16 or ResNet-50 with the hidden sizes of
    `overfit`.

    In training mode `penalty` is, of the last forward over B images, the sum over hidden layers of

        activity_l2 x (sum of squared outputs) / B + kernel_l1 x sum |w| + kernel_l2 x sum w^2

    where outputs are those after ReLU and before dropout, and w are a layer's weights without its
    biases: what Keras adds for ``activity_regularizer`` and ``kernel_regularizer`` on these
    layers. The source does not say which layers it regularised. Here it is every hidden dense
    layer, where all variants differ, but neither the convolutions nor the last layer, whose
    outputs are logits. In evaluation mode, and before the first forward, `penalty` is 0.

    Args:
        in_features: D.
        hidden_sizes: Outputs of each hidden layer.
        num_classes: K.
        dropout: Probability in [0, 1) after each hidden layer.
        activity_l2: Weight of squared outputs.
        kernel_l1: Weight of absolute weights.
        kernel_l2: Weight of squared weights.
    """

    penalty: Tensor

    def __init__(
        self,
        in_features: int,
        hidden_sizes: tuple[int, ...],
        num_classes: int,
        *,
        dropout: float = 0.0,
        activity_l2: float = 0.0,
        kernel_l1: float = 0.0,
        kernel_l2: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = (in_features, *hidden_sizes)
        self.hidden = nn.ModuleList(
            nn.Linear(inside, outside) for inside, outside in pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(sizes[-1], num_classes)
        self.activity_l2 = activity_l2
        self.kernel_l1 = kernel_l1
        self.kernel_l2 = kernel_l2
        self.penalty = torch.zeros(())
        _init_like_keras(self)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, float (B, K), of `features`, float (B, D), and set `penalty`."""
        penalty = torch.zeros((), device=features.device)
        for layer in self.hidden:
            features = functional.relu(layer(features))
            if self.training:
                penalty = penalty + self._penalty_of(layer, features)
            features = self.dropout(features)
        self.penalty = penalty
        logits: Tensor = self.output(features)
        return logits

    def _penalty_of(self, layer: nn.Module, outputs: Tensor) -> Tensor:
        weight = layer.get_parameter("weight")
        penalty = torch.zeros((), device=weight.device)
        if self.activity_l2:
            # In 32 bit: a sum over thousands of values is too coarse in 16.
            penalty = penalty + self.activity_l2 * outputs.float().square().sum() / len(outputs)
        if self.kernel_l1:
            penalty = penalty + self.kernel_l1 * weight.abs().sum()
        if self.kernel_l2:
            penalty = penalty + self.kernel_l2 * weight.square().sum()
        return penalty


def _init_like_keras(module: nn.Module) -> None:
    """Start Glorot-uniform: PyTorch's smaller start lets five thin layers fade to a constant."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
