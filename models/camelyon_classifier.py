"""The tumor classifier for Camelyon16 tiles: a small head on a frozen backbone."""

# B batch, D backbone features

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from models.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone
from models.frozen import FrozenEncoder


class CamelyonClassifier(nn.Module):
    """Tells tumor from normal tiles; its five sigmoid activations are what the fusion uses.

    The head has 77,233 parameters on a backbone of 512 features: linear 128, 64, 32, 32 with ReLU,
    linear 5 with sigmoid (the feature that leaves the model), linear 2.
    """

    input_size: Final = 224
    num_features: Final = 5

    def __init__(self, backbone: Backbone, num_classes: int = 2) -> None:
        super().__init__()
        self.backbone = FrozenEncoder(
            name=backbone.name,
            module=backbone.trunk,
            input_size=self.input_size,
            feature_shape=(backbone.num_features,),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )
        self.neck = nn.Sequential(
            nn.Linear(backbone.num_features, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, self.num_features),
            nn.Sigmoid(),
        )
        self.classifier = nn.Linear(self.num_features, num_classes)

    def frozen_encoder(self) -> FrozenEncoder:
        """Return backbone and neck, frozen, as ``cam16``."""
        encode = nn.Sequential(self.backbone, self.neck)
        return FrozenEncoder("cam16", encode, self.input_size, (self.num_features,))

    def encode(self, images: Tensor) -> Tensor:
        """Return the five features, float (B, 5) in [0, 1], of `images` as in `forward`."""
        features: Tensor = self.neck(self.backbone(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (B, 2), of `images`, float (B, 3, 224, 224) in [0, 1]."""
        logits: Tensor = self.classifier(self.encode(images))
        return logits
