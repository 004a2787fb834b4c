"""Killed, interrupted and distributed runs, in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from datasets.cells import open_cells
from datasets.images import ImageDataset
from experiments import fused_wbc
from models.fusion import FusionModel
from trainers.checkpoint import load_model_state, read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig
from trainers.encoders import encoder_from_autoencoder_run, encoder_from_cam16_run
from trainers.feature_extraction import ensure_features
from trainers.metrics import test_metrics as metrics_of_test
from trainers.run import read_finished

RUN = Path("base_wbc", "split-100", "seed-0")


def arguments(tiny_bundle: Path, runs_root: Path) -> list[object]:
    places = ["--data-root", tiny_bundle, "--runs-root", runs_root]
    sizes = ["--epochs", 3, "--batch-size", 4, "--max-train-images", 10]
    return ["experiments/base_wbc.py", *places, *sizes, "--device", "cpu"]


@pytest.fixture(scope="module")
def uninterrupted(tiny_bundle: Path, script, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs_root = tmp_path_factory.mktemp("uninterrupted")
    script(*arguments(tiny_bundle, runs_root))
    return runs_root / RUN


def signal_when(process: BaseProcess, path: Path, number: int) -> None:
    """Send `number` as soon as `path` is there."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.is_alive(), "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_run_ends_like_an_uninterrupted_one(
    tiny_bundle: Path, uninterrupted: Path, script, forked, tmp_path: Path, number: signal.Signals
):
    runs_root, said = tmp_path / "runs", tmp_path / "said"
    run_dir = runs_root / RUN

    def run(*more: str) -> None:
        result = script(*arguments(tiny_bundle, runs_root), *more)
        said.write_text(result.stderr)
        sys.exit(result.returncode)

    process = forked(run)
    signal_when(process, run_dir / "checkpoints" / "last.ckpt", number)
    process.join(timeout=60)
    expected = -number if number == signal.SIGKILL else 130
    assert process.exitcode == expected
    if number == signal.SIGINT:
        assert "--resume" in said.read_text()
    assert not (run_dir / "summary.json").exists()
    resumed = forked(lambda: run("--resume"))
    resumed.join(timeout=60)
    assert resumed.exitcode == 0, said.read_text()
    for name in ("metrics.csv", "predictions.csv"):
        assert (run_dir / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (
            read_checkpoint(run / "checkpoints" / name)["model"] for run in (run_dir, uninterrupted)
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    summaries = [read_finished(run)[1] for run in (run_dir, uninterrupted)]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert summaries[0]["best_epoch"] == summaries[1]["best_epoch"]


def test_two_processes_predict_every_test_image_once_with_the_metrics_of_one(
    tiny_bundle: Path, encoder_runs, forked, tmp_path: Path, fabric
):
    options = fused_wbc.Options(
        data_root=tiny_bundle, runs_root=tmp_path / "runs", cache_root=tmp_path / "cache",
        prcc_run=encoder_runs[0], cam16_run=encoder_runs[1], split=10, epochs=1, batch_size=3,
        device="cpu", precision="32-true",
    )  # fmt: skip
    config = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork"
    )
    # As torchrun launches; from a process of its own, since it takes over the signals.
    torchrun = forked(lambda: elastic_launch(config, fused_wbc.main)(options))
    torchrun.join(timeout=120)
    assert torchrun.exitcode == 0
    run_dir = tmp_path / "runs" / "fused_wbc" / "split-10" / "seed-0"
    cells = open_cells(tiny_bundle, 10)
    predictions = pd.read_csv(run_dir / "predictions.csv")
    expected = [sample.sample_id for sample in cells.of_split("test")]
    assert predictions["sample_id"].tolist() == expected

    trained = [
        encoder_from_autoencoder_run(encoder_runs[0], "prcc_autoencoder"),
        encoder_from_cam16_run(encoder_runs[1]),
    ]
    encoders = [entry.encoder for entry in trained]
    features = {
        encoder.name: ensure_features(fabric, encoder, cells.samples, tmp_path / "cache")
        for encoder in encoders
    }
    model = FusionModel(encoders)
    path = run_dir / "checkpoints" / "best.ckpt"
    load_model_state(model, read_checkpoint(path)["model"], path)
    data = ImageDataset(cells.of_split("test"), cells.classes, 256, features)
    trainer = ClassifierTrainer(fabric, model, data, data, TrainerConfig(epochs=1), [])
    outputs = trainer.evaluate(data)
    single = metrics_of_test(outputs.values, outputs.labels, cells.classes)
    double = read_finished(run_dir)[1]["test"]
    assert double["confusion_matrix"] == single["confusion_matrix"]
    for name in ("loss", "brier", "expected_calibration_error", "accuracy", "macro_f1"):
        assert double[name] == pytest.approx(single[name], abs=1e-5), name
