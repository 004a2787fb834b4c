"""The Xception on the Kaggle cells: its parts, its two rounds, its splits and their table."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datasets.samples import SampleSet
from experiments import bccd_xception
from experiments.bccd_xception import SPLITS, Options, configure, describe_spec
from experiments.kaggle import describe_siblings, draw_kaggle, read_kaggle
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.split_tables import build_split_table, format_split_table
from models import backbones
from models.backbone_classifier import BackboneClassifier, split_parameters
from models.backbones import RANDOM
from models.errors import WeightsError
from models.registry import build_model
from trainers.checkpoint import read_checkpoint
from trainers.optim import build_optimizer, build_schedule


@pytest.fixture
def options(kaggle_root: Path, tmp_path: Path) -> Options:
    return Options(
        data_root=kaggle_root,
        runs_root=tmp_path / "runs",
        cache_root=tmp_path / "cache",
        backbone="resnet10t",
        backbone_weights=RANDOM,
        input_size=(24, 32),
        epochs=1,
        device="cpu",
    )


def draw(options: Options, splits: str) -> SampleSet:
    pool, is_leaky = bccd_xception.DRAWS[splits]
    return draw_kaggle(options, read_kaggle(options), pool=pool, is_leaky=is_leaky)


def parts_of(cells: SampleSet, split: str) -> set[str]:
    return {sample.sample_id.split("/")[0] for sample in cells.of_split(split)}


def test_the_model_is_the_published_one():
    model = build_model(describe_spec(Options(), is_synthetic=False), 4, RANDOM)
    assert isinstance(model, BackboneClassifier)
    assert sum(p.numel() for p in model.trunk.parameters()) == 20_806_952
    widths = [layer.out_features for layer in model.head if isinstance(layer, torch.nn.Linear)]
    assert widths == [1024, 512, 128, 64, 8, 4]
    assert model.input_size == (240, 320)


def test_the_trunk_sees_values_from_minus_one_to_one():
    model = build_model(describe_spec(Options(), is_synthetic=True), 4, RANDOM).eval()
    seen = []
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.cat([torch.zeros(1, 3, 72, 96), torch.ones(1, 3, 72, 96)])
    model(images)
    assert torch.equal(seen[0], 2 * images - 1)


def test_dropout_stands_before_each_layer_of_the_head(options):
    model = build_model(describe_spec(replace(options, dropout=0.4), is_synthetic=False), 4)
    kinds = [type(layer).__name__ for layer in model.head]
    assert [kinds[i - 1] for i, kind in enumerate(kinds) if kind == "Linear"] == ["Dropout"] * 6
    assert {layer.p for layer in model.head if isinstance(layer, torch.nn.Dropout)} == {0.4}


def test_the_rounds_have_their_rates(options):
    config = configure(replace(options, epochs=3, lr=0.01, tune_lr=1e-4), is_synthetic=False)
    model = build_model(describe_spec(options, is_synthetic=False), 4)
    optimizer = build_optimizer(split_parameters(model), config)
    schedule = build_schedule(optimizer, config, steps_per_epoch=1)
    rates = []
    for _ in range(6):
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    assert rates == [{"trunk": 0, "head": 0.01}] * 3 + [{"trunk": 1e-4, "head": 1e-4}] * 3
    assert type(optimizer) is torch.optim.Adam
    assert config.weight_decay == 0


def test_one_run_trains_the_head_then_all_and_tests_both(options, monkeypatch):
    started = []
    build = bccd_xception.train_classifier

    def train(*arguments, **named):
        def keep(model):
            started.append({k: v.clone() for k, v in model.state_dict().items()})

        return build(*arguments, **named, initialise=keep)

    monkeypatch.setattr(bccd_xception, "train_classifier", train)
    run = bccd_xception.main(replace(options, tune_lr=0.001))["official"]
    states = [started[0]]
    for name in ("stage-1", "best"):
        states.append(read_checkpoint(run.path / f"checkpoints/{name}.ckpt")["model"])
    first, second = (
        {k for k in before if not torch.equal(before[k], after[k])}
        for before, after in itertools.pairwise(states)
    )
    assert first
    assert {name.split(".")[0] for name in first} == {"head"}
    assert {name.split(".")[0] for name in second} == {"head", "trunk"}
    assert any("running_mean" in name for name in second)
    assert run.summary["experiment"] == "bccd_xception"
    assert run.config["protocol"] == "official"
    assert {"accuracy", "macro_f1"} <= run.summary["other_tests"]["stage-1"].keys()
    assert len(run.predictions()) == len(run.predictions("stage-1")) == 24
    assert run.path.relative_to(options.runs_root) == Path(
        "bccd_xception/official-resnet10t/seed-0"
    )


def test_official_keeps_train_and_test_and_shares_no_photograph(options):
    cells = draw(options, "official")
    assert parts_of(cells, "train") == parts_of(cells, "val") == {"TRAIN"}
    assert parts_of(cells, "test") == {"TEST"}
    assert describe_siblings(cells) == {"val": 0, "test": 0}
    cells.require_separate_groups()


def test_grouped_draws_from_both_parts_and_shares_no_photograph(options):
    cells = draw(options, "grouped")
    assert parts_of(cells, "train") | parts_of(cells, "test") == {"TRAIN", "TEST"}
    assert len(cells.samples) == 72
    assert describe_siblings(cells) == {"val": 0, "test": 0}
    cells.require_separate_groups()


def test_leaky_has_siblings_on_both_sides(options):
    cells = draw(options, "leaky")
    trained = {sample.group for sample in cells.of_split("train")}
    tested = [sample.group in trained for sample in cells.of_split("test")]
    assert len(cells.samples) == 72
    assert np.mean(tested) > 0.5
    assert describe_siblings(cells)["test"] == np.mean(tested)


@pytest.mark.parametrize("splits", SPLITS)
def test_photographs_without_augmentation_stay_out(options, splits):
    cells = draw(options, splits)
    assert not any("TEST_SIMPLE" in sample.sample_id for sample in cells.samples)
    assert dict(cells.left_out) == {"part TEST_SIMPLE": 24}


def test_all_shows_the_three_side_by_side(options, capsys):
    runs = bccd_xception.main(replace(options, splits="all", max_train_images=8))
    assert list(runs) == list(SPLITS)
    assert [run.config["options"]["splits"] for run in runs.values()] == list(SPLITS)
    table = pd.read_csv(options.runs_root / "bccd_xception/splits-resnet10t/seed-0.csv")
    assert table["splits"].tolist() == [name for name in SPLITS for _ in range(2)]
    assert table["stage"].tolist() == ["stage-1", "last"] * 3
    for name, run in runs.items():
        row = table[(table["splits"] == name) & (table["stage"] == "last")].iloc[0]
        assert row["accuracy"] == pytest.approx(run.summary["test"]["accuracy"], abs=1e-4)
        assert row["test_images"] == len(run.predictions())
        assert row["test_photographs"] == run.predictions()["group"].nunique()
        assert row["train_images"] == 8
    printed = capsys.readouterr().out
    assert "siblings" in printed
    with pytest.raises(Exception, match="--resume"):
        bccd_xception.main(replace(options, splits="all", max_train_images=8))
    again = bccd_xception.main(replace(options, splits="all", max_train_images=8, resume=True))
    assert again["leaky"].summary == runs["leaky"].summary


def fake_run(folder: Path, groups: list[str], hits: list[bool]) -> FinishedRun:
    folder.mkdir()
    rows = [
        {"sample_id": i, "group": group, "label": "a", "prob_a": float(hit), "prob_b": 0.5}
        for i, (group, hit) in enumerate(zip(groups, hits, strict=True))
    ]
    pd.DataFrame(rows).to_csv(folder / "predictions.csv", index=False)
    summary = {
        "data": {"synthetic": False},
        "test": {
            "per_class": {"a": {}, "b": {}},
            **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), 0.8),
        },
        "splits": {"train": {"images": {"a": 5, "b": 6}, "groups": 3}},
        "siblings_in_training": {"val": 0.0, "test": 0.25},
    }
    return FinishedRun(folder, {}, summary)


def test_intervals_are_over_photographs_not_images(tmp_path):
    hits = [True] * 40 + [False] * 10
    by_photograph = [f"photograph-{index // 10}" for index in range(50)]
    by_image = [f"image-{index}" for index in range(50)]
    runs = {
        "copies": fake_run(tmp_path / "a", by_photograph, hits),
        "images": fake_run(tmp_path / "b", by_image, hits),
    }
    table = build_split_table(runs).set_index("splits")
    assert table["test_images"].tolist() == [50, 50]
    assert table["test_photographs"].tolist() == [5, 50]
    assert table["accuracy"].tolist() == [0.8, 0.8]
    width = table["accuracy_high"] - table["accuracy_low"]
    assert width["copies"] > 2 * width["images"]
    # Each of five photographs is all right or all wrong: 2.5 % of draws hold the wrong one thrice.
    assert table.loc["copies", "accuracy_low"] == pytest.approx(0.4, abs=0.01)
    text = format_split_table(table.reset_index())
    assert max(map(len, text.splitlines())) <= 80
    assert "25.0%" in text


def test_weights_that_cannot_be_had_are_an_error_on_real_images(options, monkeypatch):
    def refuse(name: str, flag: str):
        raise backbones._no_pretrained(name, OSError("no network"))

    monkeypatch.setattr(backbones, "_timm_state", refuse)
    with pytest.raises(WeightsError, match="Three ways out"):
        bccd_xception.main(replace(options, backbone_weights="pretrained"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\), not 1"),
        ({"tune_lr": 0.0}, "--tune-lr must be larger than 0"),
        ({"input_size": (0, 32)}, "--input-size must be larger than 0"),
        ({"find_copies": False}, "--no-find-copies.*Leave it out"),
        ({"epochs": 0}, "--epochs must be larger than 0"),
    ],
)
def test_impossible_options_are_refused_with_the_flag(options, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(options, **changes)


def test_help_says_what_the_script_answers(python):
    text = python("experiments/bccd_xception.py", "--help").stdout
    assert "python experiments/bccd_xception.py" in text
    assert "--tune-lr" in text
