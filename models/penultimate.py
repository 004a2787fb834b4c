"""What a classifier has made of an image where its convolutions end and its linear layers begin."""

# B batch, D values, K classes

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor, nn

from models.camelyon_classifier import CamelyonClassifier
from models.errors import ModelError
from models.fusion import FusionModel, LatentHead

CNN_PART: Final = "cell CNN"
TRUNK_PART: Final = "trunk"


@dataclass(frozen=True)
class RecordedPart:
    """What one part of a model gave, on the CPU, an entry a batch.

    Attributes:
        features: Float32 (B, D), the input of the part's first linear layer.
        votes: Float32 (B, K), what the part's linear layers made of it.
    """

    features: list[Tensor] = field(default_factory=list)
    votes: list[Tensor] = field(default_factory=list)


@contextmanager
def record_penultimate(model: nn.Module) -> Iterator[dict[str, RecordedPart]]:
    """Yield records, by the name of the part, that grow with each forward of the model.

    A fusion has a part for the cell CNN (its last map, pooled, 512 values) and one for each encoder
    (of a map the last one of its `LatentHead`, 512 values; a vector as the encoder gives it). These
    come before the votes: K numbers a part, which say what the model decides and little of why.
    Other models have one part, their trunk's features, and its votes are the logits.

    Args:
        model: Of a finished run, in evaluation mode.

    Raises:
        ModelError: The model has no such layers.
    """
    found: dict[str, RecordedPart] = {}
    handles = []
    for name, (first, last) in _linear_layers(model).items():
        part = found[name] = RecordedPart()

        def keep_input(_: nn.Module, inputs: tuple[Any, ...], part: RecordedPart = part) -> None:
            part.features.append(_keep(inputs[0]))

        def keep_output(
            _: nn.Module, __: tuple[Any, ...], output: Tensor, part: RecordedPart = part
        ) -> None:
            part.votes.append(_keep(output))

        handles += [
            first.register_forward_pre_hook(keep_input),
            last.register_forward_hook(keep_output),
        ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keep(values: Tensor) -> Tensor:
    return values.detach().flatten(1).float().cpu()


def _linear_layers(model: nn.Module) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Return, by part, what takes the features and what gives the votes; it may be one module."""
    if isinstance(model, FusionModel):
        dense = next(layer for layer in model.wbc_cnn.head if isinstance(layer, nn.Linear))
        heads: dict[str, tuple[nn.Module, nn.Module]] = {
            name: (head.linear if isinstance(head, LatentHead) else head, head)
            for name, head in model.vote_heads.items()
        }
        return {CNN_PART: (dense, model.wbc_cnn), **heads}
    layer = model.classifier if isinstance(model, CamelyonClassifier) else None
    layer = layer or getattr(model, "head", None)
    if not isinstance(layer, nn.Module):
        raise ModelError(f"{type(model).__name__} has no head whose input could be shown.")
    return {TRUNK_PART: (layer, layer)}
