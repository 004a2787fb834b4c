"""Encoders as data: what ``config.json`` holds of an encoder, so that it can be built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.autoencoder import Autoencoder
from models.backbones import RANDOM, WEIGHTS_FLAG, build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.depths import Statistic, map_encoder, pool_encoder, pooled_encoder, shrink_encoder
from models.frozen import Encoder, FrozenEncoder, unfreeze


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder.

    Attributes:
        kind: autoencoder: its encoder. latents: the same, its map pooled. camelyon: a tumor
            classifier's five features. map: a map inside a backbone. pooled: several maps of it,
            pooled.
        backbone: Of the last three kinds.
        nodes: Layers of the backbone, for the last two; see `depths`.
        input_size: Side of the images in pixels, for the last two.
        statistics: Of each channel, where maps are pooled.
        pool: Side of the squares over which the first kind's map is averaged.
        is_frozen: Or trained with the model that it is a part of.
    """

    kind: Literal["autoencoder", "latents", "camelyon", "map", "pooled"]
    backbone: str = ""
    nodes: Sequence[str] = ()
    input_size: int = 0
    statistics: Sequence[Statistic] = ("mean",)
    pool: int = 1
    is_frozen: bool = True

    def build(self, weights: str = RANDOM, flag: str = WEIGHTS_FLAG) -> Encoder:
        """Return the encoder; `weights` are those of the backbone, which `flag` chooses.

        Raises:
            ModelError: There is no such encoder.
            WeightsError: The weights are not to be had.
        """
        encoder = self._build_frozen(weights, flag)
        return encoder if self.is_frozen else unfreeze(encoder)

    def _build_frozen(self, weights: str, flag: str) -> FrozenEncoder:
        if self.kind == "autoencoder":
            encoder = Autoencoder().frozen_encoder()
            return encoder if self.pool == 1 else shrink_encoder(encoder, self.pool)
        if self.kind == "latents":
            return pool_encoder(Autoencoder().frozen_encoder(), self.statistics)
        backbone = build_backbone(self.backbone, weights, flag)
        if self.kind == "camelyon":
            return CamelyonClassifier(backbone).frozen_encoder()
        if self.kind == "map":
            return map_encoder(backbone, self.nodes[0], self.input_size)
        return pooled_encoder(backbone, self.nodes, self.input_size, self.statistics)


def describe_encoder(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an `EncoderSpec` in plain types without what is at its default.

    So runs from before there was a choice can be resumed.
    """
    choices = {"is_frozen": True, "statistics": ("mean",), "pool": 1}
    return {
        name: value
        for name, value in entry.items()
        if name not in choices or value != choices[name]
    }
