"""Models as data: what ``config.json`` holds of a run's model, so that it can be built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

from torch import nn

from models.autoencoder import Autoencoder
from models.backbone_classifier import BackboneClassifier
from models.backbones import RANDOM, build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.depths import Statistic, map_encoder, pool_encoder, pooled_encoder
from models.errors import ModelError
from models.frozen import Encoder, FrozenEncoder, unfreeze
from models.fusion import Combine, FusionModel
from models.gray_cnn import GrayCnn
from models.heads import Head, build_head
from models.linear_probe import LinearProbe
from models.normalization import Norm, replace_batch_norm
from models.small_cnn import VARIANTS, SmallCnn


@dataclass(frozen=True)
class BackboneSpec:
    """A `BackboneClassifier`.

    Attributes:
        backbone: Any torchvision or timm classifier.
        head: As `build_head`.
        dropout: Of the head.
        norm: What stands in the trunk's normalization layers.
        input_size: (H, W) in pixels; None: the backbone's own.
        grayscale: Show the trunk luminance only.
    """

    backbone: str
    head: Head = "linear"
    dropout: float = 0.0
    norm: Norm = "batch"
    input_size: tuple[int, int] | None = None
    grayscale: bool = False

    def build(self, num_classes: int, weights: str) -> BackboneClassifier:
        """Return the model with the trunk's `weights` as `build_backbone` takes them."""
        backbone = build_backbone(self.backbone, weights)
        replace_batch_norm(backbone.trunk, self.norm)
        head = build_head(self.head, backbone.num_features, num_classes, self.dropout)
        return BackboneClassifier(
            backbone,
            head,
            input_size=self.input_size and (self.input_size[0], self.input_size[1]),
            grayscale=self.grayscale,
        )


@dataclass(frozen=True)
class SmallCnnSpec:
    """A `SmallCnn`; `variant` is one of `VARIANTS`."""

    variant: str

    def build(self, num_classes: int, weights: str) -> SmallCnn:
        """Return the model; there are no pretrained weights."""
        if self.variant not in VARIANTS:
            raise ModelError(f"variant {self.variant!r} is none of {', '.join(VARIANTS)}.")
        return SmallCnn(VARIANTS[self.variant], num_classes)


@dataclass(frozen=True)
class GrayCnnSpec:
    """A `GrayCnn`."""

    def build(self, num_classes: int, weights: str) -> GrayCnn:
        """Return the model; there are no pretrained weights."""
        return GrayCnn(num_classes)


@dataclass(frozen=True)
class CamelyonSpec:
    """A `CamelyonClassifier`; `backbone` is its frozen trunk."""

    backbone: str

    def build(self, num_classes: int, weights: str) -> CamelyonClassifier:
        """Return the model with the backbone's `weights`."""
        return CamelyonClassifier(build_backbone(self.backbone, weights), num_classes)


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
        is_frozen: Or trained with the model that it is a part of.
    """

    kind: Literal["autoencoder", "latents", "camelyon", "map", "pooled"]
    backbone: str = ""
    nodes: Sequence[str] = ()
    input_size: int = 0
    statistics: Sequence[Statistic] = ("mean",)
    is_frozen: bool = True

    def build(self, weights: str = RANDOM) -> Encoder:
        """Return the encoder; `weights` are those of the backbone.

        Raises:
            ModelError: There is no such encoder.
            WeightsError: The weights are not to be had.
        """
        encoder = self._build_frozen(weights)
        return encoder if self.is_frozen else unfreeze(encoder)

    def _build_frozen(self, weights: str) -> FrozenEncoder:
        if self.kind == "autoencoder":
            return Autoencoder().frozen_encoder()
        if self.kind == "latents":
            return pool_encoder(Autoencoder().frozen_encoder(), self.statistics)
        backbone = build_backbone(self.backbone, weights)
        if self.kind == "camelyon":
            return CamelyonClassifier(backbone).frozen_encoder()
        if self.kind == "map":
            return map_encoder(backbone, self.nodes[0], self.input_size)
        return pooled_encoder(backbone, self.nodes, self.input_size, self.statistics)


@dataclass(frozen=True)
class FusionSpec:
    """A `FusionModel`; without encoders the cell CNN alone.

    Attributes:
        encoders: Whose votes are added.
        combine: How votes are combined.
        cnn_channels: Of the cell CNN.
        norm: What stands in its normalization layers and in those of the vote heads.
    """

    encoders: Sequence[EncoderSpec] = ()
    combine: Combine = "sum"
    cnn_channels: int = 64
    norm: Norm = "batch"

    def build(self, num_classes: int, weights: str) -> FusionModel:
        """Return the model with random encoders, into which a checkpoint is loaded."""
        return self.assemble([spec.build() for spec in self.encoders], num_classes)

    def assemble(self, encoders: Sequence[Encoder], num_classes: int) -> FusionModel:
        """Return the model with these encoders, which are those of the specs."""
        model = FusionModel(encoders, num_classes, self.combine, self.cnn_channels)
        replace_batch_norm(model.wbc_cnn, self.norm)
        if self.norm != "batch" and encoders:
            replace_batch_norm(model.vote_heads, self.norm)
        return model


@dataclass(frozen=True)
class ProbeSpec:
    """A `LinearProbe`.

    Attributes:
        encoders: Frozen; one or more.
        num_views: Over which predictions are averaged.
    """

    encoders: Sequence[EncoderSpec]
    num_views: int = 1

    def build(self, num_classes: int, weights: str) -> LinearProbe:
        """Return the probe with random encoders, into which a checkpoint is loaded."""
        return self.assemble([spec.build() for spec in self.encoders], num_classes)

    def assemble(self, encoders: Sequence[Encoder], num_classes: int) -> LinearProbe:
        """Return the probe with these encoders, which are those of the specs."""
        return LinearProbe(encoders, num_classes, self.num_views)


ModelSpec = BackboneSpec | SmallCnnSpec | GrayCnnSpec | CamelyonSpec | FusionSpec | ProbeSpec
_NOT_BUILDABLE: Final = (
    ValueError, TypeError, RuntimeError, LookupError, AttributeError, ArithmeticError, MemoryError,
    AssertionError, OSError,
)  # fmt: skip
_KINDS: Final[Mapping[str, type[ModelSpec]]] = {
    "backbone": BackboneSpec,
    "small_cnn": SmallCnnSpec,
    "gray_cnn": GrayCnnSpec,
    "camelyon": CamelyonSpec,
    "fusion": FusionSpec,
    "probe": ProbeSpec,
}


def build_model(spec: ModelSpec, num_classes: int, weights: str = RANDOM) -> nn.Module:
    """Return the model of `spec` for `num_classes` classes.

    Args:
        spec: Of the model.
        num_classes: K.
        weights: Of the trunk: ``pretrained``, ``random`` or a file, see `build_backbone`.

    Raises:
        ModelError: The model cannot be built.
        WeightsError: The weights are not to be had.
    """
    return spec.build(num_classes, weights)


def input_size_of(model: nn.Module) -> int | tuple[int, int]:
    """Return the side, or (height, width), in pixels of the images that a model takes."""
    size: int | tuple[int, int] = cast("Any", model).input_size
    return size


def describe_model(spec: ModelSpec) -> dict[str, Any]:
    """Return `spec` in plain types, for ``config.json``.

    Of encoders only what differs from the default is named, so that runs from before there was a
    choice can be resumed.
    """
    kind = next(name for name, cls in _KINDS.items() if isinstance(spec, cls))
    content = {"kind": kind, **asdict(spec)}
    if "encoders" in content:
        content["encoders"] = [_describe_encoder(entry) for entry in content["encoders"]]
    return content


def _describe_encoder(entry: Mapping[str, Any]) -> dict[str, Any]:
    choices = {"is_frozen": True, "statistics": ("mean",)}
    return {
        name: value
        for name, value in entry.items()
        if name not in choices or value != choices[name]
    }


def parse_model(content: Mapping[str, Any]) -> ModelSpec:
    """Return the spec that `describe_model` described.

    Raises:
        ModelError: It is no such description.
    """
    fields = dict(content)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ModelError(f"Model kind {kind!r} is none of {', '.join(_KINDS)}.")
    try:
        if kind in ("fusion", "probe"):
            fields["encoders"] = tuple(EncoderSpec(**entry) for entry in fields["encoders"])
        return _KINDS[kind](**fields)
    except (TypeError, KeyError) as error:
        raise ModelError(f"The description of the {kind} model is broken: {error}.") from error


def rebuild_model(content: Any, num_classes: int) -> nn.Module:
    """Return the model that a run folder describes, with random weights.

    Raises:
        ModelError: It is no such description, or none of a model that can be built.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"{str(content)[:60]!r} is no description of a model.")
    try:
        return build_model(parse_model(content), num_classes)
    # What stands in a run folder may be anything: layers without channels, or of terabytes.
    except _NOT_BUILDABLE as error:
        raise ModelError(f"{str(content)[:200]} cannot be built: {error}") from error
