"""Encoders that end inside a backbone."""

from __future__ import annotations

import pytest
import torch

from models.backbones import build_backbone
from models.depths import map_encoder, pooled_encoder, shrink_encoder
from models.encoder_spec import EncoderSpec
from models.errors import ModelError
from models.frozen import unfreeze

NODES = ("features.4.cat", "features.7.cat")


def test_a_map_of_squeezenet_is_as_wide_as_the_renal_latent():
    encoder = EncoderSpec("map", "squeezenet1_1", ("features.4.cat",), 260).build()
    assert encoder.feature_shape == (128, 64, 64)


def test_a_map_is_what_the_layers_before_it_give():
    backbone = build_backbone("squeezenet1_1", "random")
    encoder = map_encoder(backbone, "features.4.cat", 64)
    images = torch.rand(2, 3, 64, 64)
    expected = backbone.trunk.features[:5]((images - encoder.mean) / encoder.std)
    assert torch.allclose(encoder(images), expected, atol=1e-6)
    assert encoder.feature_shape == tuple(expected.shape[1:])


def test_pooled_depths_are_the_means_of_the_maps():
    backbone = build_backbone("squeezenet1_1", "random")
    encoder = pooled_encoder(backbone, NODES, 64)
    images = torch.rand(2, 3, 64, 64)
    normalised = (images - encoder.mean) / encoder.std
    features = backbone.trunk.features
    maps = [features[:5](normalised), features[:8](normalised)]
    expected = torch.cat([part.mean(dim=(2, 3)) for part in maps], dim=1)
    assert torch.allclose(encoder(images), expected, atol=1e-6)
    assert encoder.feature_shape == (128 + 256,)


def test_unknown_layers_and_vectors_are_refused():
    backbone = build_backbone("resnet10t", "random")
    with pytest.raises(ModelError, match=r"has no layer nowhere; it has .*layer1"):
        map_encoder(backbone, "nowhere", 64)
    backbone = build_backbone("resnet18", "random")
    with pytest.raises(ModelError, match="flatten of resnet18 gives values of shape .* no map"):
        map_encoder(backbone, "flatten", 64)
    with pytest.raises(ModelError, match="flatten of resnet18 gives no map"):
        pooled_encoder(backbone, ("layer1.0.add", "flatten"), 64)


def test_a_shrunk_map_is_the_mean_of_squares_and_goes_into_the_model_of_its_spec():
    spec = EncoderSpec("autoencoder", pool=4)
    encoder = spec.build()
    assert (encoder.name, encoder.feature_shape) == ("prcc-pool-4", (128, 16, 16))
    images = torch.rand(1, 3, 512, 512)
    large = encoder.module[0](images)
    expected = large.reshape(1, 128, 16, 4, 16, 4).mean(dim=(3, 5))
    assert torch.allclose(encoder(images), expected, atol=1e-6)
    assert all(p.requires_grad for p in unfreeze(encoder).parameters())
    with pytest.raises(ModelError, match="64x64 cannot be averaged over squares of 3"):
        shrink_encoder(EncoderSpec("autoencoder").build(), 3)
