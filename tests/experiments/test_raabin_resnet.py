"""The ResNets on Raabin-WBC: protocol, splits, both tests, variants, trials."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from datasets.errors import DatasetError
from datasets.sources.raabin import PARTS
from datasets.synthetic import PublishedSizes, write_synthetic_published
from datasets.taxonomy import WBC_CLASSES
from experiments import raabin_resnet, training
from experiments.classifiers import build_or_random
from experiments.raabin_resnet import Options
from experiments.reporting.identity import rebuild_command
from experiments.reporting.load_runs import FinishedRun
from models import backbones
from models.errors import WeightsError
from models.normalization import FrozenBatchNorm
from models.registry import build_model, parse_model
from trainers.classifier import ClassifierTrainer
from trainers.errors import RunError
from trainers.hooks.metrics_csv import MetricsCsvHook


@pytest.fixture(scope="module")
def drawn_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny synthetic set in Raabin's layout."""
    root = tmp_path_factory.mktemp("raabin")
    write_synthetic_published(root, "raabin", PublishedSizes(scale=0.1, width=32))
    return root


@pytest.fixture
def real_root(drawn_root: Path, tmp_path: Path) -> Path:
    """The same, not marked as synthetic."""
    shutil.copytree(drawn_root, tmp_path / "real")
    (tmp_path / "real" / "SYNTHETIC.json").unlink()
    return tmp_path / "real"


@pytest.fixture
def options(drawn_root: Path, tmp_path: Path) -> Options:
    """Of the small CNN, which trains in no time."""
    return Options(
        data_root=drawn_root, runs_root=tmp_path / "runs", cache_root=tmp_path / "cache",
        model="gray-cnn", lr=0.001, epochs=1, device="cpu", find_copies=False,
    )  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """What would be trained, a dictionary a run; nothing is."""
    calls: list[dict] = []

    def record(options, folder, cells, spec, config, **more):
        calls.append({"folder": folder, "cells": cells, "spec": spec, "config": config, **more})

    monkeypatch.setattr(raabin_resnet, "train_classifier", record)
    monkeypatch.setattr(raabin_resnet, "format_tests", lambda *_: "")
    monkeypatch.setattr(raabin_resnet, "format_further_test", lambda *_: "")
    return calls


@pytest.fixture
def trainers(monkeypatch) -> list[ClassifierTrainer]:
    """Every trainer that a script makes."""
    made: list[ClassifierTrainer] = []

    class Recorded(ClassifierTrainer):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            made.append(self)

    monkeypatch.setattr(training, "ClassifierTrainer", Recorded)
    return made


def parts_of(samples) -> set[str]:
    return {sample.sample_id.split("/")[0] for sample in samples}


def test_the_protocol_is_that_of_the_source_system(real_root, tmp_path, asked):
    raabin_resnet.main(
        Options(data_root=real_root, cache_root=tmp_path, depth=34, find_copies=False)
    )
    (call,) = asked
    config = call["config"]
    assert (config.epochs, config.batch_size, config.max_lr) == (25, 32, 1e-5)
    assert (config.optimizer, config.weight_decay, config.schedule) == ("adam", 1e-4, "constant")
    assert (config.trunk_lr, config.stages, config.clip) == (None, (), "none")
    assert config.class_weights
    assert not config.balanced_sampling
    assert config.augment == "none"
    assert call["weights"] == "pretrained"
    assert (call["spec"].backbone, call["spec"].input_size) == ("resnet34", None)
    assert call["folder"] == Path("raabin_resnet/pooled-resnet34/seed-0")
    assert call["facts"]["protocol"] == "pooled"
    assert call["other_tests"] == {}


def test_synthetic_cells_take_few_epochs_of_small_images(drawn_root, tmp_path, asked):
    options = Options(data_root=drawn_root, cache_root=tmp_path, find_copies=False)
    raabin_resnet.main(options)
    raabin_resnet.main(replace(options, epochs=7, input_size=(40, 48)))
    assert [call["config"].epochs for call in asked] == [3, 7]
    assert [call["spec"].input_size for call in asked] == [(64, 64), (40, 48)]


def test_all_layers_are_tuned_at_one_rate_with_weighted_classes(
    options, trainers, monkeypatch, caplog
):
    def refuse(name: str, flag: str):
        raise backbones._no_pretrained(name, OSError("no network"))

    monkeypatch.setattr(backbones, "_torchvision_state", refuse)
    (run,) = raabin_resnet.main(
        replace(options, model="resnet", norm="group", input_size=(32, 32), lr=1e-5)
    )
    assert "using random weights" in caplog.text
    (trainer,) = trainers
    optimizer = trainer.optimizer.optimizer  # Inside Fabric's wrapper.
    assert type(optimizer) is torch.optim.Adam
    assert {group["lr"] for group in optimizer.param_groups} == {1e-5}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    assert trainer.scheduler.get_last_lr() == [1e-5] * len(optimizer.param_groups)
    tuned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert tuned == {id(p) for p in trainer.model.parameters()}
    assert run.summary["parameters"]["frozen"] == 0
    counts = run.summary["splits"]["train"]["images"]
    expected = torch.tensor([sum(counts.values()) / counts[name] for name in WBC_CLASSES])
    weights = trainer._class_weights
    assert torch.allclose(weights / weights[0], expected / expected[0])
    assert any(isinstance(layer, nn.GroupNorm) for layer in trainer.model.modules())
    assert run.path.parent.name == "pooled-resnet18-group"
    assert run.config["model"]["norm"] == "group"


def test_the_pool_is_split_75_15_10_by_class(tmp_path, asked):
    root = tmp_path / "larger"
    write_synthetic_published(root, "raabin", PublishedSizes(scale=0.5, width=32))
    raabin_resnet.main(Options(data_root=root, cache_root=tmp_path, find_copies=False))
    cells = asked[0]["cells"]
    cells.require_separate_groups()
    assert parts_of(cells.of_split("train")) == set(PARTS)
    for name in WBC_CLASSES:
        total = Counter(sample.label for sample in cells.samples)[name]
        for split, share in (("val", 0.15), ("test", 0.1)):
            assert cells.count(split)[name] == max(1, int(share * total + 1e-6))


def test_copies_of_a_photograph_stay_in_one_split(real_root, tmp_path, asked):
    source = next((real_root / "TestA" / "Neutrophil").iterdir())
    shutil.copy(source, real_root / "Train" / "Neutrophil" / "copy.jpg")
    options = Options(data_root=real_root, cache_root=tmp_path / "cache")
    raabin_resnet.main(options)
    raabin_resnet.main(replace(options, protocol="testa-testb"))
    pooled, parted = (call["cells"] for call in asked)
    name = f"TestA/Neutrophil/{source.name}"
    split_of = {sample.sample_id: sample.split for sample in pooled.samples}
    assert split_of["Train/Neutrophil/copy.jpg"] == split_of[name]
    kept = {sample.sample_id: sample.split for sample in parted.samples}
    assert kept[name] == "test"
    assert "Train/Neutrophil/copy.jpg" not in kept, "training must not see a test image"
    assert dict(parted.left_out) == {"of a group that a later split holds": 1}
    for cells in (pooled, parted):
        cells.require_separate_groups()


def test_models_and_trials_share_one_draw(options, asked):
    raabin_resnet.main(replace(options, trials=2))
    raabin_resnet.main(replace(options, model="resnet", depth=50, seed=7))
    assert len({call["cells"].fingerprint for call in asked}) == 1


def test_both_published_parts_are_tested_with_and_without_restriction(options, real_root, capsys):
    options = replace(options, protocol="testa-testb", data_root=real_root)
    (run,) = raabin_resnet.main(options)
    main_test, other = run.summary["test"], run.summary["other_tests"]["TestB"]
    supports = [[row["support"] for row in t["per_class"].values()] for t in (main_test, other)]
    assert supports == [[3, 3, 3, 3, 6], [0, 0, 3, 0, 6]], "TestA's and TestB's files"
    for frame, part in ((run.predictions(), "TestA"), (run.predictions("TestB"), "TestB"),
                        (run.val_predictions(), "Train")):  # fmt: skip
        assert set(frame["sample_id"].str.split("/").str[0]) == {part}
        # The class is that of the folder, and its column that of the name.
        assert (frame["sample_id"].str.split("/").str[1].str.lower() == frame["label"]).all()
    assert "restricted" not in main_test
    frame = pd.read_csv(run.path / "predictions-TestB.csv")
    named = frame[["prob_lymphocyte", "prob_neutrophil"]].to_numpy().argmax(axis=1)
    right = np.array(["lymphocyte", "neutrophil"])[named] == frame["label"]
    assert other["restricted"]["classes"] == ["lymphocyte", "neutrophil"]
    assert other["restricted"]["accuracy"] == pytest.approx(right.mean())
    assert run.config["other_test_fingerprints"].keys() == {"TestB"}
    printed = capsys.readouterr().out
    assert "TestB by class:" in printed
    after = printed[printed.index("restricted to the classes that it holds, lymphocyte, neutro") :]
    assert f"accuracy                    {right.mean():.3f}" in after
    assert "TestA, 18 images" in printed
    next((real_root / "TestB" / "Lymphocyte").iterdir()).unlink()
    with pytest.raises(RunError, match="other_test_fingerprints"):
        raabin_resnet.main(replace(options, resume=True))


def test_a_set_without_the_other_microscope_has_the_pool_only(options, real_root, asked):
    shutil.rmtree(real_root / "TestB")
    options = replace(options, data_root=real_root)
    with pytest.raises(DatasetError, match="no images in TestB.*--protocol pooled"):
        raabin_resnet.main(replace(options, protocol="testa-testb"))
    raabin_resnet.main(options)
    assert parts_of(asked[0]["cells"].samples) == {"Train", "TestA"}


@pytest.mark.parametrize(
    ("norm", "kind", "trained"),
    [("batch", nn.BatchNorm2d, True), ("group", nn.GroupNorm, True),
     ("frozen-batch", FrozenBatchNorm, False)],
)  # fmt: skip
def test_norm_is_that_of_the_whole_trunk(norm, kind, trained):
    spec = Options(norm=norm, input_size=(32, 32)).describe_model(is_synthetic=False)
    model = build_model(spec, 5)
    kinds = (nn.BatchNorm2d, nn.GroupNorm, FrozenBatchNorm)
    layers = [layer for layer in model.modules() if isinstance(layer, kinds)]
    assert [type(layer) for layer in layers] == [kind] * 20, "ResNet-18 has 20"
    assert bool(list(layers[0].parameters())) == trained


def test_a_gray_trunk_sees_luminance_only():
    spec = Options(grayscale=True).describe_model(is_synthetic=True)
    model = build_model(spec, 5).eval()
    images = torch.rand(2, 3, 64, 64)
    gray = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    with torch.no_grad():
        assert torch.allclose(model(images), model(gray.expand(-1, 3, -1, -1)), atol=1e-5)
    assert Options(grayscale=True, norm="group", depth=50).variant == "resnet50-group-grayscale"


def test_trials_are_runs_of_their_own_and_a_stopped_one_is_resumed(
    options, tmp_path, monkeypatch, capsys
):
    options = replace(options, epochs=2, trials=2, seed=3)
    whole = raabin_resnet.main(replace(options, runs_root=tmp_path / "whole"))
    assert [run.path.parts[-2:] for run in whole] == [
        ("pooled-gray-cnn", "seed-3"), ("pooled-gray-cnn", "seed-4"),
    ]  # fmt: skip
    assert [run.config["options"]["trials"] for run in whole] == [1, 1]
    assert "--seed 4" in rebuild_command(whole[1])
    values = [run.summary["test"]["accuracy"] for run in whole]
    expected = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert f"  accuracy                    {expected}  [" in capsys.readouterr().out

    write_row = MetricsCsvHook.after_validation

    def stop(hook: MetricsCsvHook, trainer) -> None:
        if trainer.epoch == 1 and "seed-4" in str(hook.path):
            raise KeyboardInterrupt
        write_row(hook, trainer)

    with monkeypatch.context() as patched:
        patched.setattr(MetricsCsvHook, "after_validation", stop)
        with pytest.raises(KeyboardInterrupt):
            raabin_resnet.main(options)
    with pytest.raises(RunError, match="holds a finished run"):
        raabin_resnet.main(options)
    resumed = raabin_resnet.main(replace(options, resume=True))
    for ours, theirs in zip(resumed, whole, strict=True):
        for name in ("metrics.csv", "predictions.csv", "val_predictions.csv"):
            assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name
    require_losses_by_class(whole[0])


def require_losses_by_class(run: FinishedRun) -> None:
    metrics = run.metrics()
    events = EventAccumulator(str(run.path)).Reload()
    for name in WBC_CLASSES:
        tag = f"val/loss_by_class/{name}"
        assert metrics[tag].notna().all()
        logged = [event.value for event in events.Scalars(tag)]
        assert logged == pytest.approx(metrics[tag].tolist(), rel=1e-5)
    assert run.summary["best_epoch"] == metrics["val/loss"].idxmin() + 1


def test_adamw_is_a_variant_of_its_own_and_the_model_can_be_built_again(options, trainers):
    (run,) = raabin_resnet.main(replace(options, optimizer="adamw", max_train_images=10))
    assert type(trainers[0].optimizer.optimizer) is torch.optim.AdamW
    assert run.path.parent.name == "pooled-gray-cnn-adamw"
    assert sum(run.summary["splits"]["train"]["images"].values()) == 10
    model = build_model(parse_model(json.loads((run.path / "config.json").read_text())["model"]), 5)
    assert sum(p.numel() for p in model.parameters()) == run.summary["parameters"]["trained"]


def test_missing_weights_end_a_real_run_with_three_ways_out(options, real_root, monkeypatch):
    def refuse(name: str, flag: str):
        raise backbones._no_pretrained(name, OSError("no network"))

    monkeypatch.setattr(backbones, "_torchvision_state", refuse)
    with pytest.raises(WeightsError, match="Three ways out"):
        raabin_resnet.main(replace(options, model="resnet", data_root=real_root))


def test_a_named_file_of_weights_is_never_replaced_by_random_ones():
    def build(weights: str) -> str:
        raise WeightsError(weights)

    with pytest.raises(WeightsError, match=r"trunk\.pt"):
        build_or_random(build, "trunk.pt", is_synthetic=True)


def test_random_weights_at_the_rate_of_pretrained_ones_are_warned_of(options, asked, caplog):
    raabin_resnet.main(options)
    assert not caplog.records
    raabin_resnet.main(
        replace(options, model="resnet", backbone_weights="random", lr=1e-5, norm="frozen-batch")
    )
    assert "--lr 1e-05 is a rate for pretrained weights" in caplog.text
    assert "--norm frozen-batch keeps the statistics" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "--trials must be 1 or more, not 0"),
        ({"input_size": (0, 64)}, "--input-size must be larger than 0"),
        ({"model": "gray-cnn", "norm": "group"}, "--norm is of no use to --model gray-cnn"),
        ({"model": "gray-cnn", "depth": 50}, "--depth is of no use"),
        ({"model": "gray-cnn", "grayscale": True}, "--grayscale is of no use"),
        ({"model": "gray-cnn", "input_size": (64, 64)}, "--input-size is of no use"),
        ({"model": "gray-cnn", "backbone_weights": "x.pt"}, "--backbone-weights is of no use"),
        ({"lr": 0.0}, "--lr must be larger than 0"),
    ],
)
def test_impossible_options_are_refused_with_the_flag(changes, message):
    with pytest.raises(ValueError, match=message):
        Options(**changes)
