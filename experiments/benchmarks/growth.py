"""How cost grows: with the number of images, with processes, and before the first step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from experiments import base_wbc
from experiments.benchmarks import ours
from experiments.benchmarks.clock import StageClock
from experiments.benchmarks.comparing import make_job
from experiments.benchmarks.jobs import Job
from experiments.benchmarks.measuring import Round, RunRound, measure_in_turn
from experiments.benchmarks.options import ImageOptions
from experiments.benchmarks.results import describe_machine
from trainers.classifier import ClassifierTrainer
from trainers.errors import InterruptedRunError, RunError
from trainers.run import SUMMARY, read_json

_ROOT: Final = Path(__file__).resolve().parents[2]
_OPEN: Final = {"small": ours.open_small, "base": ours.open_base, "fused": ours.open_fused}


@dataclass(frozen=True)
class Growth(ImageOptions):
    """Time and memory of an epoch of ours against the number of images and of workers."""

    counts: tuple[int, ...] = (1000, 2000, 4000, 8000)
    """Numbers of images, two or more; --images has no effect."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of loading processes; --num-workers has no effect."""
    model: Literal["small", "base", "fused"] = "small"
    """small: a CNN at 60x80 on images decoded each epoch; base, fused: at their sizes, packed."""
    rounds: int = 1
    """Epochs, of which the median counts."""
    side: int = 96
    """Of an image in pixels; small, so that drawing does not take longer than measuring."""

    def __post_init__(self) -> None:
        """Refuse numbers from which nothing can be fitted."""
        super().__post_init__()
        if len(set(self.counts)) < 2 or min(self.counts) < 1:
            raise ValueError(f"--counts takes two or more different numbers, not {self.counts}.")
        if not self.workers or min(self.workers) < 0:
            raise ValueError(f"--workers takes numbers from 0 on, not {self.workers}.")


@dataclass(frozen=True)
class Ddp(ImageOptions):
    """Training the cell CNN by one process and by two, each with its own share of the images."""

    images: int = 128
    """Of the set; seven tenths are trained on."""
    side: int = 96
    """Of an image in pixels; training reads them packed."""
    threads: int | None = 1
    """Of each process: two processes on two cores are to be compared with one on one core."""


@dataclass(frozen=True)
class Start(ImageOptions):
    """From the call of base_wbc.py's main to its first step."""

    images: int = 10_000
    """Of the set."""
    side: int = 64
    """Of an image in pixels."""


def measure_growth(options: Growth) -> dict[str, Any]:
    """Measure and return seconds and memory, and the exponents of their growth, by workers."""
    rows = []
    for workers in options.workers:
        for count in options.counts:
            asked = replace(options, images=count, num_workers=workers)
            with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
                job = make_job(asked, Path(folder), pack=options.model != "small")
                way = {"ours": partial(_OPEN[options.model], job)}
                found = measure_in_turn(way, options.rounds)["ours"]
            rows.append(
                {
                    "workers": workers,
                    "images": count,
                    "seconds": found.seconds,
                    "cpu_seconds": found.cpu_seconds,
                    "peak_memory_mb": found.peak_memory_mb,
                }
            )
    return {
        "benchmark": "growth",
        "rows": rows,
        "exponents": {
            workers: {
                what: fit_exponent(
                    [row["images"] for row in rows if row["workers"] == workers],
                    [row[what] for row in rows if row["workers"] == workers],
                )
                for what in ("seconds", "peak_memory_mb")
            }
            for workers in options.workers
        },
        "settings": asdict(options),
        "machine": describe_machine(),
    }


def format_growth(content: Mapping[str, Any]) -> str:
    """Return a row a measurement and the fitted exponents."""
    lines = [f"{'workers':>8}{'images':>9}{'seconds':>10}{'images/s':>10}{'memory, MB':>12}"]
    lines += [
        f"{row['workers']:>8}{row['images']:>9}{row['seconds']:>10.2f}"
        f"{row['images'] / row['seconds']:>10.1f}{row['peak_memory_mb']:>12.0f}"
        for row in content["rows"]
    ]
    lines += [
        f"{workers} worker(s): seconds grow as images^{fitted['seconds']:.2f}, memory as "
        f"images^{fitted['peak_memory_mb']:.2f}"
        for workers, fitted in content["exponents"].items()
    ]
    return "\n".join(lines)


def fit_exponent(counts: Sequence[float], costs: Sequence[float]) -> float:
    """Return the b of cost = a x count^b, by least squares of the logarithms."""
    return float(np.polyfit(np.log(counts), np.log(costs), 1)[0])


def measure_ddp(options: Ddp) -> dict[str, Any]:
    """Train in turn by one and by two processes; return images a second and the efficiency.

    Raises:
        RunError: A training failed.
    """
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        job = make_job(options, Path(folder))
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
        "machine": describe_machine(),
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
    script += ["--seed", job.seed, "--num-workers", job.num_workers]
    threads = {} if job.threads is None else {"OMP_NUM_THREADS": str(job.threads)}
    done = subprocess.run(
        [str(word) for word in (*torchrun, *script)],
        cwd=_ROOT, capture_output=True, text=True, check=False, env={**os.environ, **threads},
    )  # fmt: skip
    if done.returncode != 0:
        raise RunError(f"Training by {processes} process(es) failed:\n{done.stderr[-2000:]}")
    summary = read_json(runs_root / "base_wbc/split-100" / f"seed-{job.seed}" / SUMMARY)
    return float(summary["images_per_second"])


def measure_start(options: Start) -> dict[str, Any]:
    """Return seconds from the call of main to the first step, and those of Python's imports."""
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        job = make_job(options, Path(folder), pack=False)
        found = measure_in_turn({"start": partial(open_start, job)}, options.rounds)["start"]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import experiments.base_wbc"], cwd=_ROOT, check=True)
    return {
        "benchmark": "start",
        "images": job.num_images,
        "seconds": found.seconds,
        "cpu_seconds": found.cpu_seconds,
        "import_seconds": time.perf_counter() - begin,
        "peak_memory_mb": found.peak_memory_mb,
        "settings": asdict(options),
        "machine": describe_machine(),
    }


def format_start(content: Mapping[str, Any]) -> str:
    """Return two lines."""
    return (
        f"start: {content['images']} images, {content['seconds']:.2f} s to the first step "
        f"({content['cpu_seconds']:.2f} s of CPU)\n"
        f"before that, Python's imports: {content['import_seconds']:.2f} s"
    )


def open_start(job: Job) -> RunRound:
    """Start base_wbc.py and stop it where its first step would begin."""
    job.set_up_process()
    clock = StageClock(torch.device(job.device))
    rounds: list[Round] = []

    def stop(*_: object) -> None:
        rounds.append(clock.read())
        raise InterruptedRunError("The first step would be here.")

    ClassifierTrainer.compute_loss = stop  # type: ignore[assignment, method-assign]
    options = base_wbc.Options(
        data_root=job.data_root,
        runs_root=job.work_dir / "runs",
        cache_root=job.work_dir,
        seed=job.seed,
        batch_size=job.batch_size,
        device=job.device,
        precision=job.precision,
        num_workers=job.num_workers,
        overwrite=True,
    )

    def run_round() -> Round:
        clock.start("other")
        try:
            base_wbc.main(options)
        except InterruptedRunError:
            return rounds[-1]
        raise RunError("The training ended without a step.")

    return run_round
