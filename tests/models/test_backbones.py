"""Backbones by name, and where their weights come from."""

from __future__ import annotations

import os
import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from models import backbones
from models.backbones import build_backbone, read_state
from models.errors import ModelError, WeightsError


@pytest.mark.parametrize(
    ("name", "num_features"),
    [("resnet18", 512), ("squeezenet1_1", 512), ("mobilenet_v3_small", 1024), ("resnet10t", 512)],
)
def test_backbone_ends_with_a_vector_of_features(name: str, num_features: int):
    backbone = build_backbone(name, "random")
    assert backbone.num_features == num_features
    assert backbone.trunk(torch.rand(1, 3, 64, 64)).shape == (1, num_features)


def test_features_are_what_torchvisions_last_layer_sees():
    torch.manual_seed(0)
    whole = torchvision.models.resnet18().eval()
    backbone = build_backbone("resnet18", "random")
    backbones.load_weights(backbone.trunk, whole.state_dict(), "test")
    images = torch.rand(1, 3, 64, 64)
    assert torch.allclose(whole.fc(backbone.trunk(images)), whole(images), atol=1e-5)


def test_unknown_backbone_is_refused_with_similar_names():
    with pytest.raises(ModelError, match=r"neither torchvision nor timm.*resnet18"):
        build_backbone("esnet18d")


def test_weights_without_the_classifier_are_read_from_safetensors(tmp_path: Path):
    trunk = torchvision.models.squeezenet1_1().features
    save_file(trunk.state_dict(), tmp_path / "w.safetensors")
    backbone = build_backbone("squeezenet1_1", str(tmp_path / "w.safetensors"))
    for name, value in trunk.state_dict().items():
        assert torch.equal(backbone.trunk.features.state_dict()[name], value)


def test_a_whole_state_dict_is_read_too(tmp_path: Path):
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    backbone = build_backbone("resnet18", str(tmp_path / "w.pth"))
    assert torch.equal(backbone.trunk.conv1.weight, model.conv1.weight)


def test_weights_of_another_backbone_are_refused(tmp_path: Path):
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="does not fit the backbone.*unknown"):
        build_backbone("resnet18", str(tmp_path / "w.pth"))


def test_weights_with_other_shapes_are_refused_and_named(tmp_path: Path):
    state = torchvision.models.resnet18().state_dict()
    state["conv1.weight"] = torch.zeros(32, 3, 7, 7)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"conv1.weight: \(32, 3, 7, 7\) given, \(64, 3, 7, 7\)"):
        build_backbone("resnet18", str(tmp_path / "w.pth"))


class Evil:
    def __reduce__(self):
        return os.mkdir, ("should-not-exist",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Evil()}, "evil.pth")
    with pytest.raises(WeightsError, match="could run code"):
        read_state(Path("evil.pth"))
    assert not Path("should-not-exist").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_broken_file_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match=name):
        read_state(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match="no such file"):
        build_backbone("resnet18", str(tmp_path / "none.pth"))


def test_without_cache_and_network_the_three_ways_are_named(tmp_path: Path, monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(WeightsError, match=r"\(1\).*\(2\).*--backbone-weights.*\(3\).*random"):
        build_backbone("resnet18")
    with pytest.raises(WeightsError, match=r"\(2\) pass --tissue PATH.*\(3\) pass --tissue random"):
        build_backbone("resnet18", flag="--tissue")
