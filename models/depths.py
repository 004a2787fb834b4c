"""Frozen encoders that end inside a backbone, and pooled maps."""

# B batch, C channels, H W height width, D features

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from models.backbones import Backbone
from models.errors import ModelError
from models.frozen import Encoder, FrozenEncoder

Statistic = Literal["mean", "max", "std"]
"""Of a channel's values over its map; std is that of all values, not of a sample."""

_SQUEEZENET: Final = (
    "features.1",
    "features.4.cat",
    "features.7.cat",
    "features.10.cat",
    "features.12.cat",
)
_KNOWN_DEPTHS: Final = {"squeezenet1_1": _SQUEEZENET}
_SMALLEST_MAP: Final = 4


def pool_map(maps: Tensor, statistics: Sequence[Statistic]) -> Tensor:
    """Return each statistic of each channel, (B, statistics x C), of `maps`, (B, C, H, W)."""
    values = maps.flatten(2)
    pooled = {
        "mean": lambda: values.mean(2),
        "max": lambda: values.amax(2),
        "std": lambda: values.float().std(2, unbiased=False).to(values.dtype),
    }
    return torch.cat([pooled[name]() for name in statistics], dim=1)


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


def pooled_encoder(
    backbone: Backbone,
    nodes: Sequence[str],
    input_size: int,
    statistics: Sequence[Statistic] = ("mean",),
) -> FrozenEncoder:
    """Return the encoder that gives statistics of each map of `nodes`, joined: D values.

    Args:
        backbone: The trunk.
        nodes: Names of layers that give maps.
        input_size: Side of the images in pixels.
        statistics: Of each channel.

    Raises:
        ModelError: The trunk has no such layer, one gives no map, or a statistic is not known.
    """
    _require_known(statistics)
    shapes = _shapes(backbone, nodes, input_size)
    wrong = [name for name, shape in shapes.items() if len(shape) != 3]
    if wrong:
        raise ModelError(f"{', '.join(wrong)} of {backbone.name} gives no map to be pooled.")
    module = _PooledNodes(_extract(backbone, nodes), nodes, statistics)
    width = len(statistics) * sum(shape[0] for shape in shapes.values())
    name = f"{_plain(backbone.name)}-depths"
    return FrozenEncoder(name, module, input_size, (width,), backbone.mean, backbone.std)


def pool_encoder(encoder: Encoder, statistics: Sequence[Statistic]) -> FrozenEncoder:
    """Return the encoder that gives statistics of each channel of an encoder's map.

    Raises:
        ModelError: A statistic is not known.
    """
    _require_known(statistics)
    width = len(statistics) * encoder.feature_shape[0]
    module = _PooledMap(encoder, statistics)
    return FrozenEncoder(f"{encoder.name}-pooled", module, encoder.input_size, (width,))


def shrink_encoder(encoder: Encoder, pool: int) -> FrozenEncoder:
    """Return the encoder that gives an encoder's map, averaged over squares of side `pool`.

    Raises:
        ModelError: The map is no multiple of `pool` in height or width.
    """
    channels, height, width = encoder.feature_shape
    if pool < 1 or height % pool or width % pool:
        raise ModelError(f"A map of {height}x{width} cannot be averaged over squares of {pool}.")
    module = nn.Sequential(encoder, nn.AvgPool2d(pool))
    shape = (channels, height // pool, width // pool)
    return FrozenEncoder(f"{encoder.name}-pool-{pool}", module, encoder.input_size, shape)


def find_depths(backbone: Backbone, input_size: int) -> tuple[str, ...]:
    """Return layers of a backbone from shallow to deep: the last one of each size of map.

    Args:
        backbone: The trunk; of SqueezeNet 1.1 a list of five is known.
        input_size: Side of the images in pixels.

    Raises:
        ModelError: The trunk gives no maps, as transformers do, or cannot be traced.
    """
    if backbone.name in _KNOWN_DEPTHS:
        return _KNOWN_DEPTHS[backbone.name]
    try:
        nodes = get_graph_node_names(backbone.trunk)[1]
        shapes = _shapes(backbone, nodes[1:], input_size)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(f"The layers of {backbone.name} cannot be listed ({error}).") from error
    last = {
        shape[-1]: node
        for node, shape in shapes.items()
        if len(shape) == 3 and shape[-1] >= _SMALLEST_MAP
    }
    if not last:
        raise ModelError(f"{backbone.name} has no layer that gives a map.")
    return tuple(last.values())


class _Node(nn.Module):
    def __init__(self, extractor: nn.Module, node: str) -> None:
        super().__init__()
        self.extractor = extractor
        self.node = node

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.extractor(images)[self.node]
        return maps


class _PooledNodes(nn.Module):
    def __init__(
        self, extractor: nn.Module, nodes: Sequence[str], statistics: Sequence[Statistic]
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.nodes = tuple(nodes)
        self.statistics = tuple(statistics)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.extractor(images)
        return torch.cat([pool_map(maps[node], self.statistics) for node in self.nodes], dim=1)


class _PooledMap(nn.Module):
    def __init__(self, encoder: Encoder, statistics: Sequence[Statistic]) -> None:
        super().__init__()
        self.encoder = encoder
        self.statistics = tuple(statistics)

    def forward(self, images: Tensor) -> Tensor:
        return pool_map(self.encoder(images), self.statistics)


def _require_known(statistics: Sequence[str]) -> None:
    unknown = [name for name in statistics if name not in get_args(Statistic)]
    if unknown or not statistics:
        raise ModelError(
            f"statistics {', '.join(unknown) or 'are empty'}: take some of "
            f"{', '.join(get_args(Statistic))}."
        )


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
    return {node: tuple(m.shape[1:]) for node, m in maps.items() if isinstance(m, Tensor)}
