"""Training by several processes under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from experiments.benchmarks.comparing import make_job
from experiments.benchmarks.jobs import Job
from experiments.benchmarks.options import ImageOptions
from experiments.benchmarks.results import describe_machine
from trainers.errors import RunError
from trainers.run import SUMMARY, read_json

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ddp(ImageOptions):
    """Training the cell CNN by one process and by two, each with its own share of the images."""

    images: int = 128
    """Of the set; seven tenths are trained on."""
    side: int = 96
    """Of an image in pixels; training reads them packed."""
    threads: int | None = 1
    """Of each process: two processes on two cores are to be compared with one on one core."""


def measure_ddp(options: Ddp) -> dict[str, Any]:
    """Train in turn by one and by two processes; return images a second and the efficiency.

    Raises:
        RunError: A training failed.
    """
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        job = make_job(options, options.images, options.num_workers, Path(folder))
        for _ in range(options.rounds):
            for processes, measured in rates.items():
                measured.append(_train_by(processes, job))
    one, two = (float(np.median(measured)) for measured in rates.values())
    return {
        "benchmark": "ddp",
        "images_per_second": {"1": one, "2": two},
        "rounds": {str(processes): measured for processes, measured in rates.items()},
        "speed_up": two / one,
        "efficiency": two / one / 2,
        "settings": asdict(options),
        "machine": describe_machine(options.find_device()),
    }


def format_ddp(content: Mapping[str, Any]) -> str:
    """Return a row a number of processes, and the efficiency."""
    lines = [
        f"{processes} process(es){rate:10.1f} images/s"
        for processes, rate in content["images_per_second"].items()
    ]
    return "\n".join([*lines, f"efficiency of two: {content['efficiency']:.2f}"])


def _train_by(processes: int, job: Job) -> float:
    """Train for an epoch under torchrun; return images a second."""
    runs_root = job.work_dir / "runs"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", processes]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    script = ["experiments/base_wbc.py", "--data-root", job.data_root.resolve(), "--epochs", 1]
    script += ["--runs-root", runs_root, "--cache-root", job.work_dir, "--device", job.device]
    script += ["--precision", job.precision, "--batch-size", job.batch_size, "--overwrite"]
    script += ["--seed", job.seed, "--num-workers", job.num_workers, "--no-keep-on-gpu"]
    threads = {} if job.threads is None else {"OMP_NUM_THREADS": str(job.threads)}
    done = subprocess.run(
        [str(word) for word in (*torchrun, *script)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **threads},
    )  # fmt: skip
    if done.returncode != 0:
        raise RunError(f"Training by {processes} process(es) failed:\n{done.stderr[-2000:]}")
    summary = read_json(runs_root / "base_wbc/split-100" / f"seed-{job.seed}" / SUMMARY)
    return float(summary["images_per_second"])
