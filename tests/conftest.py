"""Fixtures: a tiny synthetic bundle, finished encoder runs on it, and a toy training."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from datasets.samples import Sample
from datasets.synthetic import SyntheticSizes, write_synthetic_bundle
from datasets.views import take_view
from experiments import camelyon16_resnet18, prcc_autoencoder
from experiments.cli import run_script
from trainers.config import TrainerConfig

ROOT = Path(__file__).resolve().parents[1]

TINY = SyntheticSizes(
    cells_by_class=(3, 4, 5, 3, 7),
    val_cells_by_class=(4, 4, 4, 4, 6),
    cell_size=48,
    tiles_by_class=6,
    tile_size=48,
    renal_images=6,
    renal_size=64,
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute with one thread, here and in what the tests start, so that all give the same bits.

    Besides, a forked process would wait for ever for threads of OpenMP that stayed behind.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Let SIGINT stop what tests start, also where a shell runs them in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _warm_fork_server() -> None:
    """Start the server that slides' processes are forked from, with what they import.

    It can be told so only once in a process, and the first test to use it would tell it other
    modules; then each slide of each test would import torch anew.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.get_context("forkserver").set_forkserver_preload(["datasets.wsi.tiling"])
        forkserver.ensure_running()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic bundle of a few small images."""
    root = tmp_path_factory.mktemp("bundle")
    write_synthetic_bundle(root, TINY)
    return root


@pytest.fixture(scope="session")
def encoder_runs(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Finished runs of the autoencoder and of the tumor classifier."""
    shared = {
        "data_root": tiny_bundle,
        "runs_root": tmp_path_factory.mktemp("encoder_runs"),
        "epochs": 1,
        "device": "cpu",
    }
    prcc_run = prcc_autoencoder.main(prcc_autoencoder.Options(**shared, batch_size=4))
    cam16_run = camelyon16_resnet18.main(
        camelyon16_resnet18.Options(**shared, backbone="squeezenet1_1", backbone_weights="random")
    )
    return prcc_run, cam16_run


@pytest.fixture(scope="session")
def feature_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which features that one test extracts are found by the next."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def fabric() -> Fabric:
    """One process on the CPU in 32 bit."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric


class ToyData:
    """Sixteen 8x8 images whose class, light or dark, shows in every pixel."""

    classes = ("dark", "light")

    def __init__(self, num_samples: int = 16) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = [index % 2 for index in range(num_samples)]
        self.samples = [
            Sample(
                f"toy/{index}",
                Path(f"{index}.png"),
                self.classes[label],
                "train",
                str(index),
                sha256=str(index),
            )
            for index, label in enumerate(self.labels)
        ]
        noise = torch.randint(0, 60, (num_samples, 3, 8, 8), generator=generator)
        light = torch.tensor(self.labels).view(-1, 1, 1, 1) * 120
        self.images = (noise + light).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        index, view = index if isinstance(index, tuple) else (index, 0)
        return {
            "image": take_view(self.images[index], view),
            "label": self.labels[index],
            "index": index,
            "features": {},
        }


class ToyModel(nn.Module):
    """A convolution with batch norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


@pytest.fixture
def toy_data() -> ToyData:
    return ToyData()


@pytest.fixture
def toy_model() -> ToyModel:
    torch.manual_seed(0)
    return ToyModel()


@pytest.fixture
def toy_config() -> TrainerConfig:
    return replace(TrainerConfig(epochs=3), batch_size=4, augment="flips-15")


def run_python(
    *arguments: object, check: bool = True, **environment: str
) -> subprocess.CompletedProcess:
    """Run ``python ARGUMENTS`` in the project's root and return what it printed."""
    if arguments[1:] == ("--help",):
        return run_script_here(*arguments)
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )
    if check and result.returncode != 0:
        raise AssertionError(f"{arguments} exited with {result.returncode}:\n{result.stderr}")
    return result


def run_script_here(script: object, *arguments: object) -> subprocess.CompletedProcess:
    """Return what ``python SCRIPT ARGUMENTS`` prints at 80 columns, and how it exits.

    In this process, since another one takes seconds to import torch. What would be a traceback is
    raised.
    """
    module = importlib.import_module(f"experiments.{Path(str(script)).stem}")
    # `_run`, where a script has it, turns what `main` found into an exit code.
    main = getattr(module, "_run", module.main)
    output, errors = io.StringIO(), io.StringIO()
    level, code = logging.root.level, 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        patch.setattr(logging.root, "handlers", [])  # So that the script makes its own.
        patch.setenv("COLUMNS", "80")
        patch.chdir(ROOT)
        try:
            run_script(main, module.Options, module.__doc__)
        except SystemExit as stopped:
            code = stopped.code
        finally:
            logging.root.setLevel(level)
    return subprocess.CompletedProcess(sys.argv, code, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="session")
def python():
    """The function `run_python`."""
    return run_python


@pytest.fixture(scope="session")
def script():
    """The function `run_script_here`."""
    return run_script_here


@pytest.fixture
def forked():
    """Starts work in a process of its own, forked, so that it need not import all anew.

    It can be killed, or stopped by SIGINT. What a test leaves running is killed after it.
    """
    if sys.platform == "darwin":
        pytest.skip("what is forked may not use the system's libraries on macOS")
    started: list[BaseProcess] = []

    def start(work: Callable[[], object]) -> BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
