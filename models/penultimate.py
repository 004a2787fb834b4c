"""What a classifier has made of an image where its convolutions end and its linear layers begin."""

# B batch, D values

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from torch import Tensor, nn

from models.camelyon_classifier import CamelyonClassifier
from models.errors import ModelError
from models.fusion import FusionModel, LatentHead

CNN_PART: Final = "cell CNN"
TRUNK_PART: Final = "trunk"


@contextmanager
def record_penultimate(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Yield lists that grow by a tensor, float32 (B, D) on the CPU, with each forward of the model.

    A fusion has a part for the cell CNN (its last map, pooled, 512 values) and one for each encoder
    (of a map the last one of its `LatentHead`, 512 values; a vector as the encoder gives it). These
    come before the votes: K numbers a part, which say what the model decides and little of why.
    Other models have one part, their trunk's features. All enter a linear layer next.

    Args:
        model: Of a finished run, in evaluation mode.

    Raises:
        ModelError: The model has no such layers.
    """
    found: dict[str, list[Tensor]] = {}
    handles = []

    def watch(part: str, layer: nn.Module) -> None:
        rows = found.setdefault(part, [])

        def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            rows.append(inputs[0].detach().flatten(1).float().cpu())

        handles.append(layer.register_forward_pre_hook(record))

    for part, layer in _first_linear_layers(model).items():
        watch(part, layer)
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _first_linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers whose inputs are the features, by the name of the part."""
    if isinstance(model, FusionModel):
        dense = next(layer for layer in model.wbc_cnn.head if isinstance(layer, nn.Linear))
        heads = {
            name: head.linear if isinstance(head, LatentHead) else head
            for name, head in model.vote_heads.items()
        }
        return {CNN_PART: dense, **heads}
    layer = model.classifier if isinstance(model, CamelyonClassifier) else None
    layer = layer or getattr(model, "head", None)
    if not isinstance(layer, nn.Module):
        raise ModelError(f"{type(model).__name__} has no head whose input could be shown.")
    return {TRUNK_PART: layer}
