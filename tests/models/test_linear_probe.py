"""A linear layer on the joined features of frozen encoders."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.autoencoder import Autoencoder
from models.backbones import build_backbone
from models.depths import find_depths, pool_encoder, pool_map, pooled_encoder
from models.encoder_spec import EncoderSpec
from models.errors import ModelError
from models.frozen import FrozenEncoder
from models.linear_probe import LinearProbe
from models.registry import ProbeSpec, build_model, describe_model, parse_model


def make_encoder(name: str, shape: tuple[int, ...]) -> FrozenEncoder:
    return FrozenEncoder(name, nn.Identity(), 8, shape)


def test_probabilities_are_averaged_over_views():
    probe = LinearProbe([make_encoder("a", (3,)), make_encoder("b", (2,))], 4, num_views=8)
    probe.shift.normal_()
    probe.scale.uniform_(0.5, 2)
    a, b = torch.randn(5, 8, 3), torch.randn(5, 8, 2)
    joined = (torch.cat([a, b], dim=2) - probe.shift) / probe.scale
    expected = probe.linear(joined).softmax(2).mean(1).log()
    found = probe(torch.empty(0), {"b": b, "a": a})
    assert torch.allclose(found, expected, atol=1e-6)


def test_of_a_map_mean_and_maximum_are_taken():
    probe = LinearProbe([make_encoder("map", (3, 4, 4))], 2)
    assert probe.linear.in_features == 6
    maps = torch.randn(5, 3, 4, 4)
    rows = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
    found = probe(torch.empty(0), {"map": maps})
    assert torch.allclose(found, probe.linear(rows).log_softmax(1), atol=1e-6)


def test_encoders_must_be_there_and_differ_in_name():
    for encoders in ([], [make_encoder("a", (3,)), make_encoder("a", (2,))]):
        with pytest.raises(ModelError, match="encoders of different names"):
            LinearProbe(encoders, 2)


def test_statistics_are_those_of_each_channel():
    maps = torch.randn(2, 3, 5, 5)
    pooled = pool_map(maps, ("mean", "max", "std"))
    values = maps.flatten(2)
    expected = torch.cat([values.mean(2), values.amax(2), values.std(2, correction=0)], dim=1)
    assert torch.allclose(pooled, expected, atol=1e-6)
    assert torch.isfinite(pool_map(torch.ones(1, 2, 1, 1), ("std",))).all()


def test_an_unknown_statistic_is_refused_with_those_that_there_are():
    with pytest.raises(ModelError, match="median: take some of mean, max, std"):
        pool_encoder(Autoencoder().frozen_encoder(), ("median",))  # type: ignore[arg-type]


def test_depths_go_from_large_maps_to_small_ones():
    backbone = build_backbone("resnet18", "random")
    nodes = find_depths(backbone, 64)
    encoder = pooled_encoder(backbone, nodes, 64)
    assert encoder.feature_shape == (64 + 64 + 128 + 256,), "maps below 4x4 are left out"
    assert len(find_depths(build_backbone("squeezenet1_1", "random"), 224)) == 5


def test_a_probe_is_built_again_from_its_description():
    spec = ProbeSpec(
        (
            EncoderSpec("latents", statistics=("mean", "std")),
            EncoderSpec("pooled", "squeezenet1_1", ("features.1",), 64, ("max",)),
        ),
        num_views=8,
    )
    model = spec.build(5, "random")
    content = describe_model(spec)
    again = build_model(parse_model(content), 5)
    assert model.linear.in_features == 2 * 128 + 64
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
