"""A tiny job, and the functions that a benchmark times put back afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets import images as image_files
from datasets.features import FeatureStore
from datasets.packing import ImagePack
from experiments.benchmarks.comparing import make_job
from experiments.benchmarks.jobs import Job
from experiments.benchmarks.options import Fused
from models.frozen import FrozenEncoder
from trainers.autoencoder import AutoencoderTrainer
from trainers.classifier import ClassifierTrainer
from trainers.device import Fabric
from trainers.prediction import Predictor

TIMED = (
    (ImagePack, "read"), (FeatureStore, "read"), (image_files, "read_sample"),
    (image_files, "to_tensor"), (ClassifierTrainer, "compute_loss"),
    (AutoencoderTrainer, "compute_loss"), (Fabric, "backward"), (FrozenEncoder, "forward"),
    (Predictor, "collate"), (Predictor, "predict_batch"),
)  # fmt: skip


@pytest.fixture
def _untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark's own process ends with it; here what it wraps must be as before."""
    for owner, name in TIMED:
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which synthetic images are drawn once."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture
def job(drawn: Path, tmp_path: Path) -> Job:
    """Two images in 32 bit."""
    options = Fused(batch_size=2, side=64, device="cpu", precision="32-true", cache_root=drawn)
    return make_job(options, 2, 0, tmp_path)
