"""Batch norm exchanged or held still in networks of torchvision and timm."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from models.errors import ModelError
from models.normalization import freeze_batch_norm, replace_batch_norm

# Batch norm alone; batch norm with activation (timm); batch norm of vectors (timm).
NETWORKS = ("resnet18", "efficientnet_b0", "levit_128s")
NUM_LAYERS = {"resnet18": 20, "efficientnet_b0": 49, "levit_128s": 52}
SIZES = {"resnet18": 64, "efficientnet_b0": 64, "levit_128s": 224}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """A network whose statistics, scales and shifts are no longer those of the start."""
    torch.manual_seed(0)
    name = request.param
    if name == "resnet18":
        network = torchvision.models.resnet18(num_classes=5)
    else:
        network = timm.create_model(name, num_classes=5)
    for layer in batch_norms(network):
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.uniform_(layer.bias, -0.5, 0.5)
        nn.init.uniform_(layer.running_mean, -0.5, 0.5)
        nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return name, network


def batch_norms(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]


def images_for(name: str, number: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(number, 3, SIZES[name], SIZES[name], generator=generator)


def train_once(network: nn.Module, images: torch.Tensor) -> None:
    """One step of an optimizer that is given all parameters, as a trainer would."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    network(images).square().mean().backward()
    optimizer.step()


def values_of(layers: list[nn.Module]) -> list[torch.Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    return [getattr(layer, name).detach().clone() for layer in layers for name in names]


def test_no_layer_with_statistics_is_overlooked(trained):
    name, network = trained
    counters = [key for key in network.state_dict() if key.endswith("num_batches_tracked")]
    assert len(counters) == NUM_LAYERS[name]


def test_frozen_batch_norm_gives_what_batch_norm_gives_in_evaluation(trained):
    name, network = trained
    images = images_for(name).double()
    network = copy.deepcopy(network).double()
    with torch.no_grad():
        expected = network.eval()(images)
        frozen = replace_batch_norm(network, "frozen-batch")
        assert frozen is network
        assert batch_norms(frozen) == []
        assert torch.allclose(frozen(images), expected, rtol=0, atol=1e-6)
    assert expected.std() > 1e-3


def test_frozen_batch_norm_is_not_moved_by_a_training_step(trained):
    name, network = trained
    network = replace_batch_norm(copy.deepcopy(network), "frozen-batch")
    layers = [
        m for m in network.modules() if isinstance(m, FrozenBatchNorm2d | FrozenBatchNormAct2d)
    ]
    assert len(layers) == NUM_LAYERS[name]
    before = values_of(layers)
    others = [p.detach().clone() for p in network.parameters()]
    train_once(network, images_for(name))
    assert all(torch.equal(a, b) for a, b in zip(before, values_of(layers), strict=True))
    moved = [not torch.equal(a, b) for a, b in zip(others, network.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2


def test_plain_batch_norm_is_moved_by_the_same_step(trained):
    name, network = trained
    network = replace_batch_norm(copy.deepcopy(network), "batch")
    layers = batch_norms(network)
    assert len(layers) == NUM_LAYERS[name]
    before = values_of(layers)
    train_once(network, images_for(name))
    moved = [not torch.equal(a, b) for a, b in zip(before, values_of(layers), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_frozen_batch_norm_loads_the_state_of_batch_norm(trained):
    _, network = trained
    state = network.state_dict()
    frozen = replace_batch_norm(copy.deepcopy(network), "frozen-batch")
    for buffer in frozen.buffers():
        buffer.zero_()
    frozen.load_state_dict(state, strict=True)
    own = frozen.state_dict()
    assert set(own) == {key for key in state if not key.endswith("num_batches_tracked")}
    assert all(torch.equal(value, state[key]) for key, value in own.items())


def test_group_norm_replaces_all_and_keeps_scale_and_shift(trained):
    name, network = trained
    before = [(bn.num_features, bn.weight, bn.bias, bn.eps) for bn in batch_norms(network)]
    grouped = replace_batch_norm(copy.deepcopy(network), "group")
    layers = [layer for layer in grouped.modules() if isinstance(layer, nn.GroupNorm)]
    assert batch_norms(grouped) == []
    assert len(layers) == NUM_LAYERS[name]
    for (channels, weight, bias, eps), layer in zip(before, layers, strict=True):
        assert (layer.num_channels, layer.eps) == (channels, eps)
        fitting = [n for n in range(1, 33) if channels % n == 0 and channels // n >= 2]
        assert layer.num_groups == max(fitting)
        assert torch.equal(layer.weight, weight)
        assert torch.equal(layer.bias, bias)
    logits = grouped.train()(images_for(name, number=1))
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(layer.weight.grad is not None for layer in layers)


def test_group_norm_sees_one_image_alone_in_training_and_evaluation():
    torch.manual_seed(0)
    network = replace_batch_norm(torchvision.models.resnet18(num_classes=5), "group")
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network.train()(images)[:1], network.eval()(images[:1]), atol=1e-5)


def test_group_norm_keeps_the_activation_of_a_timm_layer():
    layer = replace_batch_norm(BatchNormAct2d(64, act_layer=nn.SiLU), "group")
    inputs = torch.randn(2, 64, 5, 5)
    assert isinstance(layer, GroupNormAct)
    expected = nn.functional.silu(nn.functional.group_norm(inputs, 32))
    assert torch.allclose(layer(inputs), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "groups"), [(2048, 32), (64, 32), (728, 28), (32, 16), (24, 12), (37, 1), (1, 1)]
)
def test_groups_are_32_or_the_largest_divisor_below_with_two_channels_a_group(
    channels: int, groups: int
):
    assert replace_batch_norm(nn.BatchNorm2d(channels), "group").num_groups == groups


def test_group_norm_of_a_single_pixel_tells_inputs_apart():
    layer = replace_batch_norm(nn.BatchNorm2d(16), "group")
    inputs = torch.randn(1, 16, 1, 1, generator=torch.Generator().manual_seed(0))
    assert layer(inputs).abs().min() > 0.1
    assert not torch.allclose(layer(inputs), layer(-inputs))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 5), (4, 6, 5, 5)])
def test_frozen_batch_norm_of_vectors_sequences_and_maps(shape: tuple[int, ...]):
    torch.manual_seed(0)
    layer = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](6)
    layer(torch.randn(shape) + 1)
    nn.init.uniform_(layer.weight, 0.5, 2)
    inputs = torch.randn(shape)
    view = (1, 6) + (1,) * (len(shape) - 2)
    scale = layer.weight.view(view) / (layer.running_var.view(view) + 1e-5).sqrt()
    expected = (inputs - layer.running_mean.view(view)) * scale
    assert torch.allclose(replace_batch_norm(layer, "frozen-batch")(inputs), expected, atol=1e-6)


def test_layers_without_scale_and_shift_are_exchanged_too():
    inputs = torch.randn(2, 6, 5, 5)
    for make in (nn.BatchNorm2d, BatchNormAct2d):
        layer = make(6, affine=False).eval()
        nn.init.uniform_(layer.running_var, 0.5, 2)
        expected = layer(inputs)
        assert torch.allclose(replace_batch_norm(layer, "frozen-batch")(inputs), expected)
        assert list(replace_batch_norm(layer, "group").parameters()) == []


def test_a_layer_that_stands_in_two_places_stays_one():
    shared = nn.BatchNorm2d(4)
    network = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared), shared)
    replace_batch_norm(network, "group")
    assert isinstance(network[0], nn.GroupNorm)
    assert network[0] is network[1][1] is network[2]


def test_layers_without_statistics_are_refused_and_nothing_is_changed():
    network = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(ModelError, match="batch norm 1 keeps no running statistics.*--norm group"):
        replace_batch_norm(network, "frozen-batch")
    assert len(batch_norms(network)) == 2


def test_a_network_without_batch_norm_is_refused_and_left_alone_by_batch():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4))
    with pytest.raises(ModelError, match="--norm group: Sequential has no batch norm"):
        replace_batch_norm(network, "group")
    assert replace_batch_norm(network, "batch") is network


def test_unknown_norm_is_refused_with_the_choices():
    with pytest.raises(ModelError, match="'layer' is none of batch, group, frozen-batch"):
        replace_batch_norm(nn.BatchNorm2d(3), "layer")


def test_held_batch_norm_is_not_moved_by_a_training_step(trained):
    name, network = trained
    network = copy.deepcopy(network)
    layers = batch_norms(network)
    before = values_of(layers)
    counters = [layer.num_batches_tracked.item() for layer in layers]
    network.train()
    assert freeze_batch_norm(network, frozen=True) == NUM_LAYERS[name]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    network(images_for(name)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, values_of(layers), strict=True))
    assert counters == [layer.num_batches_tracked.item() for layer in layers]
    assert network.training
    assert not any(layer.training for layer in layers)


def test_held_batch_norm_is_held_again_after_train_and_released():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    freeze_batch_norm(network, frozen=True)
    network.train()
    assert network[0].training
    freeze_batch_norm(network, frozen=True)
    assert [layer.training for layer in network] == [False, True]
    assert not any(parameter.requires_grad for parameter in network.parameters())
    freeze_batch_norm(network, frozen=False)
    assert network[0].training
    assert all(parameter.requires_grad for parameter in network.parameters())
    network.eval()
    freeze_batch_norm(network, frozen=False)
    assert not network[0].training


def test_held_timm_layer_keeps_its_dropout_in_training():
    layer = BatchNormAct2d(3, drop_layer=nn.Dropout).train()
    freeze_batch_norm(layer, frozen=True)
    assert not layer.training
    assert layer.drop.training


def test_networks_without_batch_norm_have_nothing_to_hold():
    assert freeze_batch_norm(nn.Linear(3, 2), frozen=True) == 0


@pytest.mark.parametrize("make", [nn.BatchNorm2d, BatchNormAct2d])
@pytest.mark.parametrize("norm", ["group", "frozen-batch"])
def test_the_constant_added_to_the_variance_is_kept(make: type[nn.BatchNorm2d], norm: str):
    assert replace_batch_norm(make(4, eps=1e-3), norm).eps == 1e-3
