"""Frozen encoders that end inside a backbone: a feature map, or several depths pooled."""

# B batch, C channels, H W height width, D features

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from models.backbones import Backbone
from models.errors import ModelError
from models.frozen import FrozenEncoder


def map_encoder(backbone: Backbone, node: str, input_size: int) -> FrozenEncoder:
    """Return the encoder that ends with the feature map of `node`.

    Args:
        backbone: The trunk.
        node: Name of a layer, e.g. ``features.4``; see torchvision's `get_graph_node_names`.
        input_size: Side of the images in pixels.

    Raises:
        ModelError: The trunk has no such layer, or it gives no map.
    """
    shape = _shapes(backbone, [node], input_size)[node]
    if len(shape) != 3:
        raise ModelError(f"{node} of {backbone.name} gives values of shape {shape}, no map.")
    module = _Node(_extract(backbone, [node]), node)
    name = f"{_plain(backbone.name)}-map"
    return FrozenEncoder(name, module, input_size, shape, backbone.mean, backbone.std)


def pooled_encoder(backbone: Backbone, nodes: Sequence[str], input_size: int) -> FrozenEncoder:
    """Return the encoder that gives the mean over each map of `nodes`, joined: D values.

    Args:
        backbone: The trunk.
        nodes: Names of layers that give maps.
        input_size: Side of the images in pixels.

    Raises:
        ModelError: The trunk has no such layer, or one gives no map.
    """
    shapes = _shapes(backbone, nodes, input_size)
    wrong = [name for name, shape in shapes.items() if len(shape) != 3]
    if wrong:
        raise ModelError(f"{', '.join(wrong)} of {backbone.name} gives no map to be pooled.")
    module = _PooledNodes(_extract(backbone, nodes), nodes)
    width = sum(shape[0] for shape in shapes.values())
    name = f"{_plain(backbone.name)}-depths"
    return FrozenEncoder(name, module, input_size, (width,), backbone.mean, backbone.std)


class _Node(nn.Module):
    def __init__(self, extractor: nn.Module, node: str) -> None:
        super().__init__()
        self.extractor = extractor
        self.node = node

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.extractor(images)[self.node]
        return maps


class _PooledNodes(nn.Module):
    def __init__(self, extractor: nn.Module, nodes: Sequence[str]) -> None:
        super().__init__()
        self.extractor = extractor
        self.nodes = tuple(nodes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.extractor(images)
        return torch.cat([maps[node].mean(dim=(2, 3)) for node in self.nodes], dim=1)


def _plain(name: str) -> str:
    """Return the name without dots, which may not stand in the names of modules."""
    return name.replace(".", "_")


def _extract(backbone: Backbone, nodes: Sequence[str]) -> nn.Module:
    known = get_graph_node_names(backbone.trunk)[1]
    unknown = [node for node in nodes if node not in known]
    if unknown:
        raise ModelError(
            f"{backbone.name} has no layer {', '.join(unknown)}; it has {', '.join(known)}."
        )
    extractor: nn.Module = create_feature_extractor(backbone.trunk, {node: node for node in nodes})
    return extractor


@torch.no_grad()
def _shapes(
    backbone: Backbone, nodes: Sequence[str], input_size: int
) -> dict[str, tuple[int, ...]]:
    extractor = _extract(backbone, nodes).eval()
    maps = extractor(torch.zeros(1, 3, input_size, input_size))
    return {node: tuple(maps[node].shape[1:]) for node in nodes}
