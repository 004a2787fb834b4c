"""One image a batch: what is left over joins its neighbours, and each model learns or says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from datasets.samples import Sample
from models.backbones import RANDOM
from models.frozen import FrozenEncoder
from models.fusion import FusionModel
from models.registry import (
    BackboneSpec,
    CamelyonSpec,
    GrayCnnSpec,
    SmallCnnSpec,
    build_model,
    input_size_of,
)
from models.small_cnn import VARIANTS
from models.wbc_cnn import WbcCnn
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig
from trainers.errors import RunError
from trainers.sampling import EpochBatches


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
def test_no_training_batch_holds_one_image_unless_asked_for(batch_size: int, world_size: int):
    for number in range(1, 40):
        seen: list[int] = []
        for rank in range(world_size):
            batches = EpochBatches(
                number, batch_size, shuffle=True, rank=rank, world_size=world_size
            )
            sizes = [len(batch) for batch in batches]
            assert len(sizes) == len(batches)
            assert max(sizes) <= batch_size + 1
            if batch_size > 1 and sum(sizes) > 1:
                assert min(sizes) > 1
            seen += [index for batch in batches for index in batch]
        assert set(seen) == set(range(number))


def test_a_resumed_epoch_ends_with_the_same_batches():
    whole = EpochBatches(9, 4, shuffle=True)
    rest = EpochBatches(9, 4, shuffle=True)
    rest.set_position(0, 1)
    assert [len(batch) for batch in whole] == [4, 5]
    assert list(rest) == list(whole)[1:]


def test_evaluation_keeps_its_batches():
    assert [len(batch) for batch in EpochBatches(9, 4, shuffle=False)] == [4, 4, 1]


class Images:
    """Random images of the model's size, with the features that it asks for."""

    classes = ("a", "b")

    def __init__(self, model: nn.Module, number: int = 1) -> None:
        size = input_size_of(model)
        height, width = (size, size) if isinstance(size, int) else size
        generator = torch.Generator().manual_seed(0)
        self.labels = [index % 2 for index in range(number)]
        self.samples = [
            Sample(f"{i}", None, self.classes[v], "train", f"{i}", f"{i}")  # type: ignore[arg-type]
            for i, v in enumerate(self.labels)
        ]
        self.images = torch.randint(
            0, 256, (number, 3, height, width), generator=generator, dtype=torch.uint8
        )
        encoders = getattr(model, "encoders", {})
        self.features = {
            name: torch.rand((number, *encoder.feature_shape), generator=generator).half()
            for name, encoder in encoders.items()
        }

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        features = {name: values[index] for name, values in self.features.items()}
        return {
            "image": self.images[index],
            "label": self.labels[index],
            "index": index,
            "features": features,
        }


class CellCnn(nn.Module):
    input_size = 256

    def __init__(self) -> None:
        super().__init__()
        self.cnn = WbcCnn(2, 16)

    def forward(self, images):
        return self.cnn(images)


def make_fusion(combine: str) -> FusionModel:
    encoders = [
        FrozenEncoder("map", nn.Identity(), 8, (4, 16, 16)),
        FrozenEncoder("vector", nn.Identity(), 8, (5,)),
    ]
    return FusionModel(encoders, 2, combine, 16)


MODELS = {
    "cell CNN": CellCnn,
    "fusion, sum": lambda: make_fusion("sum"),
    "fusion, concat": lambda: make_fusion("concat"),
    "fusion, gated": lambda: make_fusion("gated"),
    "camelyon": lambda: build_model(CamelyonSpec("squeezenet1_1"), 2, RANDOM),
    "gray CNN": lambda: build_model(GrayCnnSpec(), 2),
    **{
        f"small CNN {name}": lambda name=name: build_model(SmallCnnSpec(name), 2)
        for name in VARIANTS
    },
    **{
        f"resnet18 {norm}": lambda norm=norm: build_model(
            BackboneSpec("resnet18", norm=norm, input_size=(64, 64)), 2, RANDOM
        )
        for norm in ("batch", "group", "frozen-batch")
    },
    "tapered": lambda: build_model(
        BackboneSpec("resnet18", "tapered", 0.2, input_size=(64, 64)), 2, RANDOM
    ),
    "resnet18, 32 pixels, group": lambda: build_model(
        BackboneSpec("resnet18", norm="group", input_size=(32, 32)), 2, RANDOM
    ),
}


def fit(fabric, model: nn.Module, number: int, batch_size: int) -> ClassifierTrainer:
    data = Images(model, number)
    config = replace(TrainerConfig(epochs=1), batch_size=batch_size)
    trainer = ClassifierTrainer(fabric, model, data, data, config, [])
    trainer.fit()
    return trainer


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_from_a_batch_of_one(fabric, name: str):
    torch.manual_seed(0)
    model = MODELS[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = fit(fabric, model, 1, 1)
    after = trainer.model.module.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(torch.isfinite(v).all() for v in after.values() if v.is_floating_point())


def test_where_a_map_is_1x1_batch_norm_says_what_to_do(fabric):
    spec = BackboneSpec("resnet18", input_size=(32, 32))
    with pytest.raises(RunError, match=r"batch of one image.*--batch-size 2.*--norm group"):
        fit(fabric, build_model(spec, 2, RANDOM), 1, 1)


def test_there_too_a_last_single_image_is_no_trouble(fabric):
    spec = BackboneSpec("resnet18", input_size=(32, 32))
    trainer = fit(fabric, build_model(spec, 2, RANDOM), 5, 2)
    assert trainer.global_step == 2
