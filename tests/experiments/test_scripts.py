"""The scripts as a user runs them, on a tiny synthetic bundle."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from datasets.errors import DatasetError
from experiments import (
    base_wbc,
    camelyon16_resnet18,
    fused_wbc,
    prcc_autoencoder,
    prepare_wbc,
    readme_tables,
)
from experiments.options import RunOptions
from experiments.reporting.load_runs import FinishedRun
from models import backbones
from models.errors import WeightsError
from trainers.errors import RunError
from trainers.run import read_finished

SCRIPTS = sorted(
    path.stem
    for path in (Path(__file__).parents[2] / "experiments").glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text()
)


@pytest.fixture(scope="module")
def finished(
    tiny_bundle: Path, encoder_runs, tmp_path_factory: pytest.TempPathFactory
) -> tuple[fused_wbc.Options, FinishedRun, str]:
    """A fused run that extracted its features itself: its options, result, and what it printed."""
    root = tmp_path_factory.mktemp("finished")
    options = fused_wbc.Options(
        data_root=tiny_bundle,
        runs_root=root / "runs",
        cache_root=root / "cache",
        prcc_run=encoder_runs[0],
        cam16_run=encoder_runs[1],
        epochs=1,
        split=50,
        device="cpu",
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run = fused_wbc.main(options)
    return options, run, printed.getvalue()


@pytest.fixture
def fused_options(finished, tmp_path: Path) -> fused_wbc.Options:
    """Options of another such run, with the features that are there."""
    return replace(finished[0], runs_root=tmp_path / "runs")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_what_the_script_answers_and_documents_every_flag(python, name: str):
    text = python(f"experiments/{name}.py", "--help").stdout
    assert f"python experiments/{name}.py" in text
    assert text.count("--") >= 4


def test_fused_run_leaves_everything_that_a_reader_needs(finished):
    options, run, printed = finished
    assert run.path == options.runs_root / "fused_wbc" / "split-50" / "seed-0"
    for name in (
        "config.json", "environment.json", "metrics.csv", "predictions.csv", "summary.json",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    ):  # fmt: skip
        assert (run.path / name).is_file(), name
    assert list(run.path.glob("events.out.tfevents.*"))
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["data"]["synthetic"] is True
    assert summary["label_percent"] == 50
    assert summary["parameters"]["trained"] == 861_552
    assert summary["best_epoch"] == 1
    assert summary["splits"]["train"]["masked"] > 0
    assert sum(summary["splits"]["test"]["images"].values()) == 17
    assert {"loss", "accuracy", "balanced_accuracy", "macro_f1", "expected_calibration_error",
            "brier", "per_class", "confusion_matrix"} == summary["test"].keys()  # fmt: skip
    frame = run.predictions()
    assert len(frame) == 17
    assert frame.filter(like="prob_").sum(axis=1).to_numpy() == pytest.approx(1)
    assert (frame["pred"] == frame["label"]).mean() == pytest.approx(summary["test"]["accuracy"])
    assert "SYNTHETIC data" in printed
    assert (
        max(
            len(line)
            for line in printed.splitlines()
            if "tensorboard" not in line and "Written" not in line
        )
        <= 80
    )


def test_features_are_extracted_once_for_all_splits_seeds_and_epochs(fused_options, caplog):
    caplog.set_level("INFO")
    stores = sorted((fused_options.cache_root / "features").glob("*.h5"))
    assert len(stores) == 2
    before = [store.stat().st_mtime_ns for store in stores]
    fused_wbc.main(replace(fused_options, split=10, seed=1))
    assert "Extracting" not in caplog.text
    assert [store.stat().st_mtime_ns for store in stores] == before


def test_finished_run_is_shown_again_with_resume_and_refused_without(finished):
    options, first, _ = finished
    before = (first.path / "summary.json").read_bytes()
    with pytest.raises(RunError, match="holds a finished run"):
        fused_wbc.main(options)
    again = fused_wbc.main(replace(options, resume=True))
    assert again.summary == first.summary
    assert (first.path / "summary.json").read_bytes() == before


def test_neither_stored_features_nor_workers_change_the_result(finished, fused_options):
    first = finished[1]
    second = fused_wbc.main(replace(fused_options, num_workers=2))
    for name in ("predictions.csv", "metrics.csv"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_missing_encoder_runs_are_trained(tiny_bundle, tmp_path, monkeypatch):
    for script in (prcc_autoencoder, camelyon16_resnet18):
        monkeypatch.setattr(script, "SYNTHETIC_EPOCHS", 1)
    options = fused_wbc.Options(
        data_root=tiny_bundle, runs_root=tmp_path / "runs", cache_root=tmp_path / "cache",
        epochs=1, split=10, device="cpu", max_train_images=5, backbone="squeezenet1_1",
        backbone_weights="random",
    )  # fmt: skip
    fused_wbc.main(options)
    found = {path.parent.parent.name for path in (tmp_path / "runs").glob("*/seed-0/summary.json")}
    assert found == {"prcc_autoencoder", "camelyon16_resnet18"}
    config = json.loads((tmp_path / "runs/camelyon16_resnet18/seed-0/config.json").read_text())
    assert config["backbone"] == "squeezenet1_1"


def test_encoder_that_can_neither_be_found_nor_trained_is_an_error(tiny_bundle, tmp_path):
    cells = tmp_path / "cells"
    shutil.copytree(tiny_bundle / "WBC_100", cells / "WBC_100")
    options = fused_wbc.Options(data_root=cells, runs_root=tmp_path / "runs", device="cpu")
    with pytest.raises(RunError, match=r"neither a finished run.*resnet18\.py.*--cam16-run"):
        fused_wbc.main(options)


def test_synthetic_encoders_are_refused_for_real_cells(fused_options, tiny_bundle, tmp_path):
    real = tmp_path / "real"
    shutil.copytree(tiny_bundle, real)
    (real / "SYNTHETIC.json").unlink()
    with pytest.raises(RunError, match="are real cells"):
        fused_wbc.main(replace(fused_options, data_root=real))


def test_run_of_another_experiment_is_refused_as_encoder(fused_options, encoder_runs):
    with pytest.raises(RunError, match="is a run of camelyon16_resnet18, not of prcc_autoencoder"):
        fused_wbc.main(replace(fused_options, prcc_run=encoder_runs[1]))


def test_pretrained_weights_fall_back_on_synthetic_data_only(
    tiny_bundle, tmp_path, monkeypatch, caplog
):
    def refuse(name: str, flag: str):
        raise backbones._no_pretrained(name, OSError("no network"))

    monkeypatch.setattr(backbones, "_torchvision_state", refuse)
    options = camelyon16_resnet18.Options(
        data_root=tiny_bundle, runs_root=tmp_path / "runs", epochs=1, device="cpu",
        max_train_images=4,
    )  # fmt: skip
    camelyon16_resnet18.main(options)
    assert "using random weights" in caplog.text
    real = tmp_path / "real"
    shutil.copytree(tiny_bundle, real)
    (real / "SYNTHETIC.json").unlink()
    with pytest.raises(WeightsError, match="Three ways out"):
        camelyon16_resnet18.main(replace(options, data_root=real, runs_root=tmp_path / "other"))


def test_prepared_set_can_be_trained_on(tiny_bundle, tmp_path, capsys):
    root = tiny_bundle / "WBC_100" / "val" / "data"
    prepare_wbc.main(prepare_wbc.Options(root=root, out=tmp_path / "set"))
    assert "neutrophil" in capsys.readouterr().out
    options = base_wbc.Options(
        data_root=tmp_path / "set", runs_root=tmp_path / "runs", epochs=1, split=1, device="cpu",
        class_weights=True, balanced_sampling=True, clip="norm", clip_limit=1.0,
    )  # fmt: skip
    run = base_wbc.main(options)
    assert run.summary["data"]["synthetic"] is True, "the stamp goes along"
    assert run.summary["parameters"] == {"trained": 175_533, "frozen": 0}


def test_preparing_twice_needs_to_be_asked_for(tiny_bundle, tmp_path):
    options = prepare_wbc.Options(root=tiny_bundle / "WBC_100/val/data", out=tmp_path)
    first = prepare_wbc.main(options).read_bytes()
    with pytest.raises(ValueError, match="--overwrite"):
        prepare_wbc.main(options)
    assert prepare_wbc.main(replace(options, overwrite=True)).read_bytes() == first


def test_unreadable_image_is_named_or_skipped_and_counted(tiny_bundle, tmp_path):
    root = tmp_path / "cells"
    shutil.copytree(tiny_bundle / "WBC_100/val/data", root)
    (root / "Monocyte" / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    Image.new("L", (20, 20), 77).save(root / "Monocyte" / "gray.png")
    options = base_wbc.Options(data_root=root, runs_root=tmp_path / "runs", epochs=1, device="cpu")
    with pytest.raises(DatasetError, match=r"broken\.jpg.*--skip-unreadable"):
        base_wbc.main(options)
    run = base_wbc.main(replace(options, skip_unreadable=True, overwrite=True))
    assert run.summary["data"]["skipped"] == ["Monocyte/broken.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs must be larger than 0, not 0"),
        ({"lr": -1.0}, "--lr must be larger than 0"),
        ({"num_workers": -1}, "--num-workers"),
        ({"resume": True, "overwrite": True}, "--resume keeps"),
    ],
)
def test_impossible_options_are_refused_with_the_flag(changes, message):
    with pytest.raises(ValueError, match=message):
        RunOptions(**changes)


def test_report_writes_the_table_from_runs_and_refuses_to_mix(tiny_bundle, tmp_path):
    runs = tmp_path / "runs"
    for seed in (0, 1):
        base_wbc.main(
            base_wbc.Options(
                data_root=tiny_bundle, runs_root=runs, epochs=1, split=10, seed=seed, device="cpu"
            )
        )
    readme = tmp_path / "README.md"
    readme.write_text("above\n<!-- results:main_job -->\nold\n<!-- /results:main_job -->\nbelow\n")
    options = readme_tables.Options(runs=(runs,), out=tmp_path, documents=(readme,))
    with pytest.raises(ValueError, match="No finished classifier run on real images below"):
        readme_tables.main(options)
    assert "old" in readme.read_text()
    assert not (tmp_path / "main_job.csv").exists()
    table = readme_tables.main(replace(options, synthetic=True))["main_job"]
    assert table.loc[0, "seeds"] == 2
    accuracies = [
        read_finished(runs / f"base_wbc/split-10/seed-{seed}")[1]["test"]["accuracy"]
        for seed in (0, 1)
    ]
    assert table.loc[0, "accuracy"] == pytest.approx(sum(accuracies) / 2, abs=1e-4)
    text = readme.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text
    assert "| base_wbc | 10 % |" in text
    assert len(pd.read_csv(tmp_path / "main_job.csv")) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["experiments/base_wbc.py", "--data-root", "no/such/folder"],
            "No WBC images under",
        ),
        (["experiments/base_wbc.py", "--split", "25"], "invalid choice '25'"),
        (["experiments/base_wbc.py", "--epochs", "0"], "--epochs must be larger than 0"),
        (["experiments/prcc_autoencoder.py", "--data-root", "models"], "patient(s)"),
        (
            ["experiments/prepare_wbc.py", "--root", "models", "--out", "x"],
            "lacks the class folder",
        ),
    ],
)
def test_wrong_use_is_answered_without_a_traceback(script, arguments, expected):
    result = script(*arguments)
    assert result.returncode == 2
    assert expected in result.stderr + result.stdout
