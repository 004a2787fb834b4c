"""The ladder of small CNNs: its models, their training, its splits, its table and picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn import functional

from datasets.images import ImageDataset
from datasets.memory import ImageMemory
from experiments import ladder, small_cnn
from experiments.kaggle import describe_siblings, draw_kaggle, read_kaggle
from experiments.ladder import TRANSFER, VARIANT_NAMES, add_other, find_weights, spec_of
from experiments.reporting.figures_ladder import draw_ladder
from experiments.reporting.ladder import build_ladder_table, format_ladder
from experiments.small_cnn import Options, configure
from models import backbones
from models.backbones import PRETRAINED, RANDOM
from models.errors import WeightsError
from models.fusion import count_parameters
from models.registry import BackboneSpec, build_model, input_size_of
from trainers.checkpoint import read_checkpoint
from trainers.classifier import ClassifierTrainer

NUM_CLASSES = 5


@pytest.fixture
def options(kaggle_root: Path, tmp_path: Path) -> Options:
    return Options(
        data_root=kaggle_root,
        runs_root=tmp_path / "runs",
        cache_root=tmp_path / "cache",
        backbone_weights=RANDOM,
        epochs=1,
        max_train_images=8,
        device="cpu",
    )


@pytest.fixture
def small_trunks(monkeypatch):
    """Let a small network stand in for VGG16 and ResNet-50."""
    monkeypatch.setattr(
        small_cnn,
        "spec_of",
        lambda name: (
            replace(spec_of(name), backbone="resnet10t") if name in TRANSFER else spec_of(name)
        ),
    )


@pytest.mark.parametrize(
    ("variant", "number"),
    [
        ("overfit", 2_889_925),
        ("dropout-0.2", 2_889_925),
        ("dropout-0.4", 2_889_925),
        ("l2-activity", 2_889_925),
        ("l1-l2", 2_889_925),
        ("reduced", 759_237),
        ("final", 423_237),
    ],
)
def test_the_variants_have_the_published_numbers_of_parameters(variant, number):
    assert count_parameters(build_model(spec_of(variant), NUM_CLASSES))[0] == number


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_every_variant_takes_images_of_60x80(variant):
    spec = spec_of(variant)
    if isinstance(spec, BackboneSpec):
        assert (spec.backbone, spec.head, spec.input_size) == (variant, "dense-stack", (60, 80))
    else:
        assert input_size_of(build_model(spec, NUM_CLASSES)) == (60, 80)


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_every_variant_learns_at_one_constant_rate_of_adam(options, variant):
    config = configure(replace(options, epochs=None), variant, is_synthetic=False)
    assert config.epochs == (50 if variant in ("l1-l2", "final") else 30)
    assert (config.optimizer, config.schedule, config.max_lr) == ("adam", "constant", 0.0003)
    assert (config.weight_decay, config.clip, config.augment) == (0, "none", "none")
    assert [stage.trunk_lr for stage in config.stages] == [None] * (variant in TRANSFER)
    assert [stage.lr for stage in config.stages] == [0.0003] * (variant in TRANSFER)


def first_loss(
    options: Options, fabric, variant: small_cnn.Variant, data
) -> tuple[float, float, float]:
    """Return the loss of the first training step, its cross-entropy, and the kernels' penalty."""
    torch.manual_seed(0)
    model = build_model(spec_of(variant), NUM_CLASSES)
    kernels = [layer.weight.detach().double() for layer in model.head.hidden]
    penalty = 1e-4 * sum(float(w.abs().sum() + w.square().sum()) for w in kernels)
    config = configure(options, variant, is_synthetic=False)
    trainer = ClassifierTrainer(fabric, model, data, data, config, [])
    trainer.model.train()
    labels = torch.tensor(data.labels[:4])
    images = torch.rand(4, 3, 60, 80)
    batch = {"image": images, "label": labels, "index": torch.arange(4), "features": {}}
    _, logits = trainer.compute_loss(batch)
    trainer.train_step(batch)
    return trainer.loss, functional.cross_entropy(logits, labels).item(), penalty


def test_the_penalty_is_in_the_loss_that_is_descended(options, fabric):
    cells = add_other(draw_kaggle(options, read_kaggle(options), pool=False, is_leaky=False))
    data = ImageDataset(cells.of_split("train"), cells.classes, (60, 80))
    plain, entropy, _ = first_loss(options, fabric, "overfit", data)
    assert plain == pytest.approx(entropy)
    # The same weights and images, so the cross-entropy is that of the plain network.
    activity, same_entropy, _ = first_loss(options, fabric, "l2-activity", data)
    assert same_entropy == pytest.approx(entropy)
    assert activity > entropy + 0.01
    kernels, same_entropy, penalty = first_loss(options, fabric, "l1-l2", data)
    assert same_entropy == pytest.approx(entropy)
    assert kernels == pytest.approx(entropy + penalty, rel=1e-4)


def test_the_fifth_class_is_an_output_without_images(options):
    run = small_cnn.main(options)["final"]
    assert run.config["classes"] == ["eosinophil", "lymphocyte", "monocyte", "neutrophil", "other"]
    assert run.summary["parameters"]["trained"] == 423_237
    assert run.summary["splits"]["train"]["images"]["other"] == 0
    assert run.predictions()["prob_other"].between(0, 1).all()
    assert run.summary["test"]["per_class"]["other"]["support"] == 0
    restricted = run.summary["test"]["restricted"]
    assert restricted["classes"] == run.config["classes"][:4]
    assert not any(name.endswith("other") for name in run.metrics().columns)
    # Balanced accuracy is the mean recall of the four that are there.
    recalls = [run.summary["test"]["per_class"][name]["recall"] for name in restricted["classes"]]
    assert run.summary["test"]["balanced_accuracy"] == pytest.approx(sum(recalls) / 4)
    assert run.path.relative_to(options.runs_root) == Path("small_cnn/final/seed-0")


@pytest.mark.usefixtures("small_trunks")
def test_a_backbone_stays_frozen_below_its_dense_layers(options, monkeypatch):
    before = {}
    train = small_cnn.train_classifier

    def keep(*arguments, **named):
        def copy(model):
            before.update({name: value.clone() for name, value in model.state_dict().items()})

        return train(*arguments, **named, initialise=copy)

    monkeypatch.setattr(small_cnn, "train_classifier", keep)
    run = small_cnn.main(replace(options, variant="vgg16"))["vgg16"]
    after = read_checkpoint(run.path / "checkpoints/best.ckpt")["model"]
    moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"head"}
    assert run.summary["parameters"]["frozen"] > 4_000_000


def test_official_validation_holds_new_photographs_and_leaky_known_ones(options):
    options = replace(options, max_train_images=None)
    drawn = {}
    for is_leaky in (False, True):
        cells = draw_kaggle(options, read_kaggle(options), pool=False, is_leaky=is_leaky)
        drawn[is_leaky] = cells
        in_test = {sample.sample_id.split("/")[0] for sample in cells.of_split("test")}
        assert in_test == {"TEST"}
        assert describe_siblings(cells)["test"] == 0
    assert describe_siblings(drawn[False])["val"] == 0
    trained = {sample.group for sample in drawn[True].of_split("train")}
    known = [sample.group in trained for sample in drawn[True].of_split("val")]
    assert sum(known) == describe_siblings(drawn[True])["val"] * len(known) > 0


FEW: Final = ("overfit", "reduced", "resnet50", "final")
"""Of the ladder, so that the test is quick."""


@pytest.mark.usefixtures("small_trunks")
def test_all_ends_in_one_table_and_one_picture(options, capsys, monkeypatch):
    opened = []

    class Counted(ImageMemory):
        def open_images(self, *arguments):
            opened.append(self)
            return super().open_images(*arguments)

    monkeypatch.setattr(small_cnn, "ImageMemory", Counted)
    monkeypatch.setattr(small_cnn, "VARIANT_NAMES", FEW)
    runs = small_cnn.main(replace(options, variant="all", splits="leaky"))
    assert tuple(runs) == FEW
    assert len(opened) == 3 * len(FEW)
    assert len(set(map(id, opened))) == 1, "images are decoded once for all variants"
    table = pd.read_csv(options.runs_root / "small_cnn/ladder-leaky.csv")
    assert table["variant"].tolist() == list(FEW)
    for row in table.to_dict("records"):
        run = runs[row["variant"]]
        assert run.config["options"]["variant"] == run.config["variant"] == row["variant"]
        assert row["splits"] == run.config["protocol"] == "leaky"
        assert row["test_accuracy"] == pytest.approx(run.summary["test"]["accuracy"], abs=1e-4)
        assert row["train_accuracy"] == pytest.approx(run.metrics()["train/accuracy"][0], abs=1e-4)
        assert row["val_accuracy"] == pytest.approx(run.metrics()["val/accuracy"][0], abs=1e-4)
        assert row["test_images"] == 24
        assert row["test_photographs"] == 8
        assert row["test_low"] <= row["test_accuracy"] <= row["test_high"]
    by_variant = table.set_index("variant")
    assert by_variant["parameters"][["overfit", "reduced", "final"]].tolist() == [
        2_889_925,
        759_237,
        423_237,
    ]
    reported = by_variant.loc["final", ["reported_train", "reported_val", "reported_test"]]
    assert reported.tolist() == [0.9584, 0.9396, 0.84]
    assert by_variant.loc["reduced", ["reported_train", "reported_val"]].tolist() == [
        0.9774,
        0.9346,
    ]
    assert by_variant.loc[["resnet50"], "reported_val"].isna().all()
    assert by_variant.loc["resnet50", "frozen"] > 4_000_000
    with Image.open(options.runs_root / "small_cnn/ladder-leaky.png") as picture:
        assert np.array_equal(np.asarray(picture), draw_ladder(runs))
    one = draw_ladder({"final": runs["final"]})
    assert draw_ladder(runs).shape[1] > 2 * one.shape[1], "a panel a variant"
    printed = capsys.readouterr().out
    lines = printed[printed.index("Accuracy of the kept epoch") :].splitlines()
    assert any(line.startswith("final") and ".96/.94/.84" in line for line in lines)
    text = format_ladder(build_ladder_table(runs))
    assert max(map(len, text.splitlines())) <= 80


def test_weights_are_found_by_name_in_a_folder(tmp_path):
    (tmp_path / "vgg16.pth").touch()
    assert find_weights(str(tmp_path), "vgg16") == str(tmp_path / "vgg16.pth")
    assert find_weights(PRETRAINED, "vgg16") == PRETRAINED
    assert find_weights("some.safetensors", "resnet50") == "some.safetensors"
    assert find_weights(str(tmp_path), "final") == RANDOM
    with pytest.raises(WeightsError, match=r"holds none of resnet50\.safetensors"):
        find_weights(str(tmp_path), "resnet50")


def test_missing_weights_are_told_before_anything_is_trained(options, monkeypatch):
    def refuse(name: str, flag: str):
        raise backbones._no_pretrained(name, OSError("no network"))

    monkeypatch.setattr(backbones, "_torchvision_state", refuse)
    monkeypatch.setattr(ladder, "TRANSFER", ("vgg11",))
    monkeypatch.setattr(small_cnn, "VARIANT_NAMES", ("final", "vgg11"))
    with pytest.raises(WeightsError, match="Three ways out"):
        small_cnn.main(replace(options, variant="all", backbone_weights=PRETRAINED))
    assert not options.runs_root.exists()


def test_help_says_what_the_script_answers(python):
    text = python("experiments/small_cnn.py", "--help").stdout
    assert "python experiments/small_cnn.py" in text
    assert all(name in text for name in ("l2-activity", "--backbone-weights"))
