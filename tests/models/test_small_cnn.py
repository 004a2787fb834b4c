"""The small-CNN ladder: counts met to the digit, and penalties as NumPy computes them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.fusion import count_parameters
from models.small_cnn import VARIANTS, DenseStack, SmallCnn, SmallCnnVariant

LADDER = (
    "baseline",
    "overfit",
    "dropout-0.2",
    "dropout-0.4",
    "reduced",
    "l2-activity",
    "l1-l2",
    "final",
)


def seeded_model(name: str) -> SmallCnn:
    torch.manual_seed(0)
    model = SmallCnn(VARIANTS[name])
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.uniform_(layer.bias, -0.1, 0.1)
    return model


def test_the_ladder_is_whole():
    assert tuple(VARIANTS) == LADDER


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("overfit", 2_889_925),
        ("dropout-0.2", 2_889_925),
        ("dropout-0.4", 2_889_925),
        ("l2-activity", 2_889_925),
        ("l1-l2", 2_889_925),
        ("reduced", 759_237),
        ("final", 423_237),
        ("baseline", 1_159_237),
    ],
)
def test_variant_has_the_stated_parameters(name: str, parameters: int):
    assert count_parameters(SmallCnn(VARIANTS[name], 5)) == (parameters, 0)


def test_three_convolutions_leave_5120_values_of_60x80():
    trunk = SmallCnn(VARIANTS["overfit"]).trunk
    shapes = []
    images = torch.rand(2, 3, 60, 80)
    for layer in trunk:
        images = layer(images)
        if isinstance(layer, nn.MaxPool2d):
            shapes.append(tuple(images.shape[1:]))
    assert shapes == [(32, 29, 39), (64, 13, 18), (128, 5, 8)]
    assert images.shape == (2, 5_120)


@pytest.mark.parametrize("name", LADDER)
def test_logits_have_one_value_a_class(name: str):
    assert SmallCnn(VARIANTS[name], 4)(torch.rand(2, 3, 60, 80)).shape == (2, 4)


def test_images_of_another_size_are_refused_with_the_size_to_give():
    with pytest.raises(ModelError, match=r"\(B, 3, 60, 80\), not \(1, 3, 80, 60\)"):
        SmallCnn(VARIANTS["final"])(torch.rand(1, 3, 80, 60))


def test_more_convolutions_than_the_image_bears_are_refused():
    with pytest.raises(ModelError, match="at most 4"):
        SmallCnn(SmallCnnVariant((32,), conv_channels=(8, 8, 8, 8, 8)))
    assert SmallCnn(SmallCnnVariant((32,), conv_channels=(8, 8, 8, 8)))(
        torch.rand(1, 3, 60, 80)
    ).shape


def test_activity_penalty_is_that_of_numpy():
    model = seeded_model("l2-activity").train()
    images = torch.rand(3, 3, 60, 80)
    model(images)
    outputs = model.trunk(images).detach().numpy().astype(np.float64)
    expected = 0.0
    for layer in model.head.hidden:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        outputs = np.maximum(outputs @ weight.T.astype(np.float64) + bias, 0)
        expected += 0.005 * sum(float((row**2).sum()) for row in outputs) / 3
    assert expected > 1e-3
    assert model.penalty.item() == pytest.approx(expected, rel=1e-5)


def test_activity_penalty_does_not_grow_with_the_batch():
    model = seeded_model("l2-activity").train()
    image = torch.rand(1, 3, 60, 80)
    model(image)
    alone = model.penalty.item()
    model(image.expand(4, -1, -1, -1))
    assert model.penalty.item() == pytest.approx(alone, rel=1e-5)


def test_kernel_penalty_is_that_of_numpy_over_hidden_dense_weights():
    model = seeded_model("l1-l2").train()
    model(torch.rand(2, 3, 60, 80))
    weights = [
        value.numpy().astype(np.float64)
        for name, value in model.state_dict().items()
        if name.startswith("head.hidden") and name.endswith("weight")
    ]
    assert [weight.shape[0] for weight in weights] == [512, 256, 128, 64, 32]
    expected = 1e-4 * sum(np.abs(w).sum() + np.square(w).sum() for w in weights)
    assert model.penalty.item() == pytest.approx(expected, rel=1e-5)


def test_kernel_penalty_has_the_gradient_of_its_formula():
    model = seeded_model("l1-l2").train()
    model(torch.rand(2, 3, 60, 80))
    model.penalty.backward()
    for layer in model.head.hidden:
        weight = layer.weight.detach()
        assert torch.allclose(layer.weight.grad, 1e-4 * (weight.sign() + 2 * weight), atol=1e-9)
        assert layer.bias.grad is None
    assert model.head.output.weight.grad is None
    assert all(parameter.grad is None for parameter in model.trunk.parameters())


def test_activity_penalty_reaches_the_convolutions_and_its_step_lessens_it():
    model = seeded_model("l2-activity").train()
    images = torch.rand(4, 3, 60, 80)
    model(images)
    before = model.penalty
    before.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.trunk.parameters())
    assert model.head.output.weight.grad is None
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    model(images)
    assert model.penalty < before


@pytest.mark.parametrize("name", ["l2-activity", "l1-l2"])
def test_penalty_is_zero_in_evaluation_and_before_the_first_forward(name: str):
    model = seeded_model(name)
    images = torch.rand(2, 3, 60, 80)
    assert model.penalty.item() == 0
    model.train()(images)
    assert model.penalty.item() > 0
    model.eval()(images)
    assert model.penalty.item() == 0
    assert not model.penalty.requires_grad


def test_activity_penalty_is_summed_in_32_bit_under_mixed_precision():
    model = seeded_model("l2-activity").train()
    seen = []
    model.head.dropout.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.rand(3, 3, 60, 80))
    assert {outputs.dtype for outputs in seen} == {torch.bfloat16}
    expected = 0.005 * sum(outputs.double().square().sum().item() for outputs in seen) / 3
    assert model.penalty.item() == pytest.approx(expected, rel=1e-5)


def test_unpenalised_variants_have_no_penalty_in_training():
    model = seeded_model("dropout-0.4").train()
    model(torch.rand(2, 3, 60, 80))
    assert model.penalty.item() == 0


def test_penalty_is_no_part_of_the_state():
    model = seeded_model("l1-l2").train()
    model(torch.rand(2, 3, 60, 80))
    assert set(model.state_dict()) == set(SmallCnn(VARIANTS["overfit"]).state_dict())


@pytest.mark.parametrize(("name", "rate"), [("dropout-0.2", 0.2), ("dropout-0.4", 0.4)])
def test_dropout_comes_after_each_hidden_layer_at_its_rate(name: str, rate: float):
    model = seeded_model(name).train()
    shares = []
    model.head.dropout.register_forward_hook(
        lambda _, inputs, output: shares.append(
            1 - (output[inputs[0] > 0] > 0).float().mean().item()
        )
    )
    model(torch.rand(64, 3, 60, 80))
    assert shares == pytest.approx([rate] * 5, abs=0.05)


def test_dense_stack_is_a_head_for_any_trunk():
    stack = DenseStack(512, VARIANTS["overfit"].hidden_sizes, 5)
    assert stack(torch.rand(2, 512)).shape == (2, 5)
    sizes = [512, 512, 256, 128, 64, 32, 5]
    expected = sum(a * b + b for a, b in pairwise(sizes))
    assert count_parameters(stack) == (expected, 0)


def test_different_images_start_with_different_logits():
    torch.manual_seed(0)
    logits = SmallCnn(VARIANTS["overfit"]).eval()(torch.rand(8, 3, 60, 80) ** 2)
    assert logits.std(dim=0).mean() > 0.005
