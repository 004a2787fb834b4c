"""Killed, interrupted and distributed runs, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from datasets.cells import open_cells
from datasets.images import ImageDataset
from models.fusion import FusionModel
from trainers.checkpoint import load_model_state, read_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig
from trainers.encoders import encoder_from_autoencoder_run, encoder_from_cam16_run
from trainers.feature_extraction import ensure_features
from trainers.metrics import test_metrics as metrics_of_test
from trainers.run import read_finished

ROOT = Path(__file__).resolve().parents[2]
RUN = Path("base_wbc", "split-100", "seed-0")


def command(tiny_bundle: Path, runs_root: Path, *more: str) -> list[str]:
    arguments = ["--data-root", str(tiny_bundle), "--runs-root", str(runs_root), "--device", "cpu"]
    arguments += ["--epochs", "4", "--batch-size", "4", *more]
    return [sys.executable, "experiments/base_wbc.py", *arguments]


@pytest.fixture(scope="module")
def uninterrupted(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs_root = tmp_path_factory.mktemp("uninterrupted")
    subprocess.run(command(tiny_bundle, runs_root), cwd=ROOT, check=True, capture_output=True)
    return runs_root / RUN


def signal_when(process: subprocess.Popen, path: Path, number: int) -> None:
    """Send `number` as soon as `path` is there."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_run_ends_like_an_uninterrupted_one(
    tiny_bundle: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals
):
    last = tmp_path / RUN / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        command(tiny_bundle, tmp_path), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    signal_when(process, last, number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 130), messages
    if number == signal.SIGINT:
        assert "--resume" in messages
    assert not (tmp_path / RUN / "summary.json").exists()
    subprocess.run(
        command(tiny_bundle, tmp_path, "--resume"), cwd=ROOT, check=True, capture_output=True
    )
    for name in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / RUN / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (
            read_checkpoint(run / "checkpoints" / name)["model"]
            for run in (tmp_path / RUN, uninterrupted)
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    summaries = [read_finished(run)[1] for run in (tmp_path / RUN, uninterrupted)]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert summaries[0]["best_epoch"] == summaries[1]["best_epoch"]


def test_two_processes_predict_every_test_image_once_with_the_metrics_of_one(
    tiny_bundle: Path, encoder_runs, tmp_path: Path, fabric
):
    arguments = ["--split", "10", "--device", "cpu", "--precision", "32-true", "--epochs", "1"]
    arguments += ["--data-root", tiny_bundle, "--runs-root", tmp_path / "runs"]
    arguments += ["--cache-root", tmp_path / "cache", "--batch-size", "3"]
    arguments += ["--prcc-run", encoder_runs[0], "--cam16-run", encoder_runs[1]]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    result = subprocess.run(
        [*torchrun, "experiments/fused_wbc.py", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
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
