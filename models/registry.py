"""Models as data: what ``config.json`` holds of a run's model, so that it can be built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from torch import nn

from models.backbone_classifier import BackboneClassifier
from models.backbones import RANDOM, build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.encoder_spec import EncoderSpec, describe_encoder
from models.errors import ModelError
from models.frozen import Encoder
from models.fusion import Combine, FusionModel
from models.gray_cnn import GrayCnn
from models.heads import Head, build_head
from models.linear_probe import LinearProbe
from models.normalization import Norm, replace_batch_norm
from models.small_cnn import VARIANTS, SmallCnn
from models.spec_limits import ENCODER_FIELDS, MODEL_FIELDS, NUM_CLASSES, require_fields


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
    """Return `spec` in plain types, for ``config.json``."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(spec, cls))
    content = {"kind": kind, **asdict(spec)}
    if "encoders" in content:
        content["encoders"] = [describe_encoder(entry) for entry in content["encoders"]]
    return content


def parse_model(content: Mapping[str, Any]) -> ModelSpec:
    """Return the spec that `describe_model` described.

    Raises:
        ModelError: It is no such description, or a field is of a kind or size that no model has.
    """
    fields = dict(content)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ModelError(f"Model kind {kind!r} is none of {', '.join(_KINDS)}.")
    require_fields(f"the {kind} model", fields, MODEL_FIELDS)
    try:
        if kind in ("fusion", "probe"):
            for entry in fields["encoders"]:
                require_fields(f"an encoder of the {kind} model", entry, ENCODER_FIELDS)
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
    require_fields("the model", {"num_classes": num_classes}, NUM_CLASSES)
    try:
        return build_model(parse_model(content), num_classes)
    # What stands in a run folder may be anything: layers without channels, or of terabytes.
    except _NOT_BUILDABLE as error:
        raise ModelError(f"{str(content)[:200]} cannot be built: {error}") from error
