"""Frozen encoders, and copies of them that are trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.backbone_classifier import split_parameters
from models.backbones import build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.frozen import Encoder, FrozenEncoder, frozen_encoders, hash_state, unfreeze
from models.fusion import FusionModel, count_parameters

SIZE = 64  # Of images that every trunk here takes.


def tumor_encoder() -> FrozenEncoder:
    torch.manual_seed(0)
    return CamelyonClassifier(build_backbone("resnet10t", "random")).frozen_encoder()


def test_an_unfrozen_copy_has_the_weights_of_the_frozen_encoder_and_its_features():
    frozen = tumor_encoder()
    copied = unfreeze(frozen)
    assert hash_state(copied) == hash_state(frozen)
    images = torch.rand(2, 3, SIZE, SIZE)
    assert torch.equal(copied.eval()(images), frozen(images))


def test_gradients_reach_every_weight_of_an_unfrozen_copy_and_none_of_the_frozen_encoder():
    frozen = tumor_encoder()
    assert list(frozen_encoders(frozen)) == ["", "module.0"], "one inside the other"
    copied = unfreeze(frozen)
    assert frozen_encoders(copied) == {}
    before = hash_state(frozen)
    copied.train()(torch.rand(4, 3, SIZE, SIZE)).sum().backward()
    assert [name for name, p in copied.named_parameters() if p.grad is None] == []
    torch.optim.SGD(copied.parameters(), lr=1.0).step()
    assert hash_state(copied) != before, "batch norm moves by the forward alone"
    assert hash_state(frozen) == before
    assert not any(p.requires_grad or p.grad is not None for p in frozen.parameters())


def test_fusion_looks_at_the_images_of_an_encoder_that_is_trained():
    frozen = tumor_encoder()
    stored, trained = (
        FusionModel([encoder], cnn_channels=8).eval() for encoder in (frozen, unfreeze(frozen))
    )
    trained.load_state_dict(stored.state_dict())
    cells, images = torch.rand(2, 3, 256, 256), torch.rand(2, 3, SIZE, SIZE)
    expected = stored(cells, {"cam16": frozen(images)})
    assert torch.equal(trained(cells, {"cam16": images}), expected)
    assert expected.std() > 0
    trained(cells, {"cam16": images}).sum().backward()
    assert all(p.grad is not None for p in trained.encoders.parameters())


def test_parameters_of_unfrozen_encoders_count_as_trained():
    frozen = tumor_encoder()
    own = sum(parameter.numel() for parameter in frozen.parameters())
    trained, still = count_parameters(FusionModel([frozen]))
    assert still == own
    assert count_parameters(FusionModel([unfreeze(frozen)])) == (trained + own, 0)


def test_the_trunk_of_a_fusion_are_its_encoders():
    model = FusionModel([Encoder("toy", nn.Conv2d(3, 2, 1), 8, (2, 8, 8))])
    parts = split_parameters(model)
    assert parts["trunk"] == list(model.encoders.parameters())
    assert len(parts["trunk"]) + len(parts["head"]) == len(list(model.parameters()))


def test_frozen_encoders_leave_the_order_of_what_is_trained_as_it_is():
    parts = split_parameters(FusionModel([tumor_encoder()], combine="gated"))
    assert not any(parameter.requires_grad for parameter in parts["trunk"])
    model = FusionModel([tumor_encoder()], combine="gated")
    names = {id(p): name for name, p in model.named_parameters()}
    found = [names[id(p)] for p in split_parameters(model)["head"]]
    assert found == [name for name, p in model.named_parameters() if p.requires_grad]


def test_the_transform_in_words_tells_input_sizes_and_normalizations_apart():
    mean, std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    transforms = {
        FrozenEncoder("toy", nn.Identity(), size, (3,), **options).transform
        for size in (8, 16)
        for options in ({}, {"mean": mean}, {"std": std})
    }
    assert len(transforms) == 6


def test_a_frozen_encoder_is_in_evaluation_mode_from_the_start():
    encoder = FrozenEncoder("toy", nn.Dropout(), 8, (3, 8, 8))
    assert not any(module.training for module in encoder.modules())
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(encoder(images), images)
    encoder.train()
    assert not encoder.module.training


class Holding(nn.Module):
    """A module whose state is what it is given."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


ONES, TWOS = torch.ones(2, 3), torch.full((2, 3), 2.0)


@pytest.mark.parametrize(
    "other",
    [
        Holding(a=ONES, b=TWOS + 1),
        Holding(a=TWOS, b=ONES),
        Holding(a=ONES, c=TWOS),
        Holding(a=ONES.reshape(3, 2), b=TWOS),
        Holding(a=ONES.view(torch.int32), b=TWOS),
    ],
    ids=["values", "exchanged", "name", "shape", "dtype of the same bytes"],
)
def test_the_hash_of_a_state_tells_values_names_shapes_and_dtypes_apart(other: nn.Module):
    state = Holding(a=ONES, b=TWOS)
    assert hash_state(state) == hash_state(Holding(b=TWOS.clone(), a=ONES.clone()))
    assert hash_state(other) != hash_state(state)
