"""What the models compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import nn

from models.autoencoder import Autoencoder
from models.backbones import build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.errors import ModelError
from models.frozen import FrozenEncoder, hash_state
from models.fusion import FusionModel, LatentHead
from models.losses import ssim_loss


def test_autoencoder_latent_and_reconstruction_have_the_stated_shapes():
    model = Autoencoder()
    images = torch.rand(1, 3, 512, 512)
    assert model.encoder(images).shape == (1, *Autoencoder.latent_shape)
    reconstructions = model(images)
    assert reconstructions.shape == images.shape
    assert 0 <= reconstructions.min() <= reconstructions.max() <= 1


def test_ssim_loss_equals_scikit_image():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 48, 40, generator=generator)
    others = (images + 0.2 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    expected = []
    for image, other in zip(images.numpy(), others.numpy(), strict=True):
        _, full = structural_similarity(
            image,
            other,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        # pytorch-msssim averages where the 11-pixel window lies inside the image.
        expected.append(1 - full[:, 5:-5, 5:-5].mean())
    assert np.allclose(ssim_loss(others, images).numpy(), expected, atol=1e-5)


def test_ssim_loss_of_equal_images_is_zero_and_of_different_ones_is_not_small():
    dark, light = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    assert ssim_loss(light, light).item() == pytest.approx(0, abs=1e-6)
    assert ssim_loss(dark, light).item() > 0.99


def test_frozen_encoder_stays_in_evaluation_mode_when_its_parent_trains():
    encoder = FrozenEncoder("toy", nn.BatchNorm2d(3), 8, (3, 8, 8))
    parent = nn.Sequential(encoder, nn.BatchNorm2d(3))
    parent.train()
    before = hash_state(encoder)
    parent(torch.rand(4, 3, 8, 8))
    assert parent[1].training
    assert not any(module.training for module in encoder.modules())
    assert hash_state(encoder) == before


def test_frozen_encoder_builds_no_graph():
    encoder = FrozenEncoder("toy", nn.Conv2d(3, 2, 1), 8, (2, 8, 8))
    features = encoder(torch.rand(1, 3, 8, 8, requires_grad=True))
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_hash_of_state_sees_a_single_changed_value_and_buffers():
    module = nn.BatchNorm1d(3)
    first = hash_state(module)
    module.running_mean[1] += 1e-7
    assert hash_state(module) != first


def test_camelyon_features_are_five_sigmoids_before_the_last_layer():
    model = CamelyonClassifier(build_backbone("squeezenet1_1", "random")).eval()
    images = torch.rand(2, 3, 224, 224)
    features = model.encode(images)
    assert features.shape == (2, 5)
    assert 0 < features.min() <= features.max() < 1
    assert torch.allclose(model(images), model.classifier(features))


def test_fusion_by_sum_adds_votes_before_the_combination():
    encoders = [FrozenEncoder("cam16", nn.Identity(), 224, (5,))]
    model = FusionModel(encoders).eval()
    images, features = torch.rand(2, 3, 256, 256), torch.rand(2, 5)
    expected = model.combination(model.wbc_cnn(images) + features)
    assert torch.allclose(model(images, {"cam16": features}), expected)


def test_gated_fusion_weighs_votes_by_the_image():
    encoders = [FrozenEncoder("cam16", nn.Identity(), 224, (5,))]
    model = FusionModel(encoders, combine="gated").eval()
    images, features = torch.rand(2, 3, 256, 256), torch.rand(2, 5)
    votes = torch.stack([model.wbc_cnn(images), features], dim=1)
    weights = model.gate(votes.flatten(1)).softmax(dim=1)
    expected = model.combination((weights[:, :, None] * votes).sum(dim=1))
    assert torch.allclose(model(images, {"cam16": features}), expected, atol=1e-6)


def test_a_new_encoder_is_one_entry():
    encoders = [
        FrozenEncoder("wide", nn.Identity(), 64, (512,)),
        FrozenEncoder("map", nn.Identity(), 64, (16, 7, 7)),
    ]
    model = FusionModel(encoders, num_classes=3, combine="concat")
    features = {"wide": torch.rand(2, 512), "map": torch.rand(2, 16, 7, 7)}
    assert model(torch.rand(2, 3, 256, 256), features).shape == (2, 3)


def test_latent_head_pools_until_the_map_is_small():
    head = LatentHead((128, 64, 64), 5)
    assert head.layers(torch.rand(1, 128, 64, 64)).shape == (1, 32 * 4 * 4)


def test_encoders_with_the_same_name_are_refused():
    twins = [FrozenEncoder("twin", nn.Identity(), 8, (5,)) for _ in range(2)]
    with pytest.raises(ModelError, match="different names"):
        FusionModel(twins)


def test_unknown_combination_is_refused_with_the_choices():
    with pytest.raises(ModelError, match="sum, concat, gated"):
        FusionModel(combine="product")
