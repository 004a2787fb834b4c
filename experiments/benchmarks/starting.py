"""What a training takes before its first step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments import base_wbc
from experiments.benchmarks.clock import StageClock
from experiments.benchmarks.comparing import make_job
from experiments.benchmarks.distributed import ROOT
from experiments.benchmarks.jobs import Job
from experiments.benchmarks.measuring import Round, RunRound, measure_in_turn
from experiments.benchmarks.options import ImageOptions
from experiments.benchmarks.results import describe_machine
from trainers.classifier import ClassifierTrainer
from trainers.errors import InterruptedRunError, RunError


@dataclass(frozen=True)
class Start(ImageOptions):
    """From the call of base_wbc.py's main to its first step."""

    images: int = 10_000
    """Of the set."""
    side: int = 64
    """Of an image in pixels."""


def measure_start(options: Start) -> dict[str, Any]:
    """Return seconds from the call of main to the first step, and those of Python's imports."""
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        job = make_job(options, options.images, options.num_workers, Path(folder), pack=False)
        found = measure_in_turn({"start": partial(open_start, job)}, options.rounds)["start"]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import experiments.base_wbc"], cwd=ROOT, check=True)
    return {
        "benchmark": "start",
        "images": job.num_images,
        "seconds": found.seconds,
        "cpu_seconds": found.cpu_seconds,
        "import_seconds": time.perf_counter() - begin,
        "peak_memory_mb": found.peak_memory_mb,
        "settings": asdict(options),
        "machine": describe_machine(options.find_device()),
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
        keep_on_gpu=False,
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
