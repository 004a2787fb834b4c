"""Parameter counts of the source system, met to the digit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.autoencoder import Autoencoder
from models.backbones import build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.frozen import FrozenEncoder
from models.fusion import FusionModel, count_parameters
from models.wbc_cnn import WbcCnn


def source_encoders() -> list[FrozenEncoder]:
    prcc = FrozenEncoder("prcc", Autoencoder().encoder, 512, Autoencoder.latent_shape)
    return [prcc, FrozenEncoder("cam16", nn.Identity(), 224, (5,))]


def test_wbc_cnn_has_175533_parameters():
    assert count_parameters(WbcCnn()) == (175_533, 0)


def test_autoencoder_has_134691_parameters():
    assert count_parameters(Autoencoder()) == (134_691, 0)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_camelyon_head_has_77233_trained_parameters(name: str):
    trained, frozen = count_parameters(CamelyonClassifier(build_backbone(name, "random")))
    assert trained == 77_233
    assert frozen > 700_000


def test_frozen_resnet18_without_fc_has_11176512_parameters():
    _, frozen = count_parameters(CamelyonClassifier(build_backbone("resnet18", "random")))
    assert frozen == 11_176_512


def test_fusion_by_sum_adds_a_latent_head_and_thirty_parameters():
    model = FusionModel(source_encoders())
    assert count_parameters(model.vote_heads)[0] == 685_989
    assert count_parameters(model.combination)[0] == 30
    assert count_parameters(model) == (175_533 + 685_989 + 30, 93_248)


def test_fusion_by_concat_combines_fifteen_votes():
    model = FusionModel(source_encoders(), combine="concat")
    assert model.combination.in_features == 15
    assert count_parameters(model.combination)[0] == 80


def test_fusion_without_encoders_is_the_base_model():
    model = FusionModel()
    assert count_parameters(model) == (175_533, 0)
    images = torch.rand(2, 3, 256, 256)
    model.eval()
    assert torch.equal(model(images), model.wbc_cnn(images))
