"""Models described in plain types and built again."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from models.backbone_classifier import LUMINANCE, BackboneClassifier
from models.backbones import build_backbone
from models.encoder_spec import EncoderSpec
from models.errors import ModelError
from models.fusion import count_parameters
from models.heads import TAPERED_WIDTHS, build_head
from models.outline import outline
from models.registry import (
    BackboneSpec,
    CamelyonSpec,
    FusionSpec,
    GrayCnnSpec,
    ProbeSpec,
    SmallCnnSpec,
    build_model,
    describe_model,
    input_size_of,
    parse_model,
    rebuild_model,
)

SPECS = [
    BackboneSpec("resnet18", norm="group", input_size=(32, 48)),
    BackboneSpec("resnet10t", head="tapered", dropout=0.3, grayscale=True, input_size=(64, 64)),
    SmallCnnSpec("final"),
    GrayCnnSpec(),
    CamelyonSpec("squeezenet1_1"),
    FusionSpec(),
    FusionSpec((EncoderSpec("autoencoder"), EncoderSpec("camelyon", "squeezenet1_1")), "concat"),
    FusionSpec((EncoderSpec("autoencoder", is_frozen=False),)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_a_described_model_is_built_again_with_the_same_weights(spec):
    first = build_model(spec, 5)
    again = build_model(parse_model(json.loads(json.dumps(describe_model(spec)))), 5)
    again.load_state_dict(first.state_dict())
    size = input_size_of(first)
    assert input_size_of(again) == size
    if not isinstance(spec, FusionSpec):
        images = torch.rand(2, 3, *((size, size) if isinstance(size, int) else size))
        logits = first.eval()(images)
        assert logits.shape == (2, 5)
        assert torch.equal(again.eval()(images), logits)


@pytest.mark.parametrize(
    "spec",
    [
        *SPECS,
        BackboneSpec("resnet18", norm="frozen-batch"),
        BackboneSpec("regnet_y_400mf"),
        BackboneSpec("swin_v2_t"),
        ProbeSpec((EncoderSpec("latents"), EncoderSpec("map", "resnet18", ("layer2.0.relu",), 64))),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_an_outline_has_the_names_and_shapes_of_the_model_but_no_values(spec):
    def shapes_of(model):
        return {name: value.shape for name, value in model.state_dict().items()}

    outlined = outline(lambda: build_model(spec, 5))
    assert all(parameter.is_meta for parameter in outlined.parameters())
    assert shapes_of(outlined) == shapes_of(build_model(spec, 5))
    assert not any(p.is_meta for p in build_model(GrayCnnSpec(), 5).parameters()), "the mode ended"


def test_a_model_with_frozen_encoders_is_described_as_by_earlier_versions():
    spec = FusionSpec((EncoderSpec("autoencoder"), EncoderSpec("camelyon", "resnet18")))
    assert json.loads(json.dumps(describe_model(spec))) == {
        "kind": "fusion",
        "encoders": [
            {"kind": "autoencoder", "backbone": "", "nodes": [], "input_size": 0},
            {"kind": "camelyon", "backbone": "resnet18", "nodes": [], "input_size": 0},
        ],
        "combine": "sum",
        "cnn_channels": 64,
        "norm": "batch",
    }


def test_encoders_of_a_described_model_are_frozen_or_trained_as_they_were():
    encoders = (EncoderSpec("autoencoder", is_frozen=False), EncoderSpec("camelyon", "resnet10t"))
    model = build_model(parse_model(describe_model(FusionSpec(encoders))), 5)
    trained = {name: p.requires_grad for name, p in model.encoders.named_parameters()}
    assert set(trained.values()) == {True, False}
    assert all(is_trained == name.startswith("prcc.") for name, is_trained in trained.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "kind None is none of backbone"),
        ({"kind": "os.system"}, "kind 'os.system' is none of"),
        ({"kind": "backbone"}, "description of the backbone model is broken"),
        ({"kind": "gray_cnn", "more": 1}, "description of the gray_cnn model is broken"),
        ({"kind": "fusion"}, "description of the fusion model is broken"),
    ],
)
def test_a_broken_description_is_refused(content, message):
    with pytest.raises(ModelError, match=message):
        parse_model(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "backbone", "backbone": "resnet18", "input_size": [20000, 20000]},
         r"input_size of the backbone model is \[20000, 20000\].*from 1 to 4096 pixels"),
        ({"kind": "backbone", "backbone": "resnet18", "input_size": [-5, "x"]}, "input_size"),
        ({"kind": "backbone", "backbone": ["resnet18"]}, "backbone of .* allowed is a text"),
        ({"kind": "backbone", "backbone": "resnet18", "dropout": 1e400}, "dropout of"),
        ({"kind": "backbone", "backbone": "resnet18", "grayscale": 3}, "allowed is true or false"),
        ({"kind": "probe", "encoders": [], "num_views": 10**9}, "num_views .* allowed is 1 or 8"),
        ({"kind": "fusion", "encoders": [], "cnn_channels": 16384}, "from 1 to 4096"),
        ({"kind": "fusion", "encoders": [], "cnn_channels": True}, "cnn_channels .* is True"),
        ({"kind": "fusion", "encoders": [{"kind": "latents"}] * 17}, "at most 16 encoders"),
        ({"kind": "fusion", "encoders": ["latents"]}, "encoders of the fusion model"),
        ({"kind": "probe", "encoders": [{"kind": "map", "input_size": 10**9}]},
         "input_size of an encoder of the probe model"),
        ({"kind": "probe", "encoders": [{"kind": "map", "nodes": 7}]}, "nodes of an encoder"),
        ({"kind": "probe", "encoders": [{"kind": "autoencoder", "pool": 0}]}, "pool of an encoder"),
    ],
)  # fmt: skip
def test_a_description_with_numbers_that_no_model_has_is_refused(content, message):
    with pytest.raises(ModelError, match=message):
        parse_model(content)


def test_a_model_of_more_classes_than_any_is_refused():
    with pytest.raises(ModelError, match=r"num_classes of the model is 10001.*from 1 to 10000"):
        rebuild_model({"kind": "gray_cnn"}, 10_001)


def test_unknown_parts_are_refused_with_the_choices():
    with pytest.raises(ModelError, match="head 'deep' is none of linear, tapered, dense-stack"):
        build_head("deep", 4, 2)
    with pytest.raises(ModelError, match="variant 'huge' is none of baseline"):
        build_model(SmallCnnSpec("huge"), 5)


def test_the_xception_has_the_published_number_of_parameters():
    backbone = build_backbone("legacy_xception", "random")
    values = [
        value.numel()
        for name, value in backbone.trunk.state_dict().items()
        if "num_batches_tracked" not in name
    ]
    assert sum(parameter.numel() for parameter in backbone.trunk.parameters()) == 20_806_952
    assert sum(values) == 20_861_480
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


def test_the_tapered_head_has_dropout_before_each_layer():
    head = build_head("tapered", 2048, 4, dropout=0.3)
    widths = (2048, *TAPERED_WIDTHS, 4)
    expected = sum(a * b + b for a, b in itertools.pairwise(widths))
    assert count_parameters(head)[0] == expected
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Dropout", "Linear", "ReLU"] * 5 + ["Dropout", "Linear"]


@pytest.mark.parametrize(
    ("name", "size", "mean"),
    [
        ("resnet18", (224, 224), 0.485),
        ("efficientnet_b1", (240, 240), 0.485),
        ("legacy_xception", (299, 299), 0.5),
    ],
)
def test_a_backbone_brings_its_own_input_size_and_normalisation(name, size, mean):
    backbone = build_backbone(name, "random")
    assert backbone.input_size == size
    assert backbone.mean[0] == mean


def test_vgg_ends_with_its_convolutions():
    backbone = build_backbone("vgg11", "random")
    assert backbone.num_features == 512
    assert count_parameters(backbone.trunk)[0] == 9_220_480  # Of torchvision's vgg11().features.


def test_a_gray_classifier_sees_luminance_alone():
    model = build_model(BackboneSpec("resnet10t", grayscale=True, input_size=(32, 32)), 3).eval()
    assert isinstance(model, BackboneClassifier)
    color = torch.rand(2, 3, 32, 32)
    gray = (color * torch.tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    assert torch.allclose(model(color), model(gray.expand(-1, 3, -1, -1)), atol=1e-5)
