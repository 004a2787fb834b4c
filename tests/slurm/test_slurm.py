"""A grid on a real Slurm of one node; skipped where Slurm's programs are not installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from experiments import base_wbc
from experiments.executors import ExecutorOptions, Job, JobResult, run_jobs
from trainers.checkpoint import read_checkpoint
from trainers.errors import RunError
from trainers.run import read_finished

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "slurm" / "single_node.py"
PATIENCE_SECONDS = 300

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm that the commands of this module find; torn down afterwards."""
    search = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
    missing = [n for n in programs if not any(Path(d, n).is_file() for d in search.split(":"))]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; see tests/slurm/single_node.py --install")
    folder = tmp_path_factory.mktemp("slurm")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--folder", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("export "):
            break
    else:  # It has ended by itself.
        pytest.fail("".join(said))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", said[-1].split("=", 1)[1].strip())
        yield
    process.terminate()
    process.wait(timeout=60)


def options(tmp_path: Path, **changes: object) -> ExecutorOptions:
    settings = {"cpus": 1, "memory_gb": 2, "minutes": 10, "log_dir": tmp_path / "logs"}
    return ExecutorOptions(executor="slurm", **{**settings, **changes})


def grid(tiny_bundle: Path, runs_root: Path) -> list[Job]:
    """Three seeds of the base classifier on synthetic cells."""
    jobs = []
    for seed, epochs in ((0, 1), (1, 6), (2, 6)):
        settings = base_wbc.Options(
            data_root=tiny_bundle, runs_root=runs_root, seed=seed, epochs=epochs, batch_size=2,
            max_train_images=12, device="cpu", precision="32-true", resume=True,
        )  # fmt: skip
        run_dir = runs_root / "base_wbc" / "split-100" / f"seed-{seed}"
        jobs.append(Job(f"seed-{seed}", run_dir, partial(base_wbc.main, settings)))
    return jobs


def read_queue() -> str:
    command = ["squeue", "--array", "--noheader", "--format=%i %T %r"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def job_id_of(log_dir: Path, job: Job) -> str:
    ids = json.loads((log_dir / "slurm" / "submitted.json").read_text())
    return str(ids[str(job.run_dir.resolve())])


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear: {read_queue()}"
        time.sleep(0.02)


def once_trained(job: Job, log_dir: Path, *command: str) -> list[str]:
    """Run a command on a job as soon as its first epoch is saved; let Slurm restart it at once."""
    wait_for(job.run_dir / "checkpoints" / "last.ckpt")
    job_id = job_id_of(log_dir, job)
    subprocess.run([*command, job_id], check=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    seen: list[str] = []
    while not any("PENDING" in line for line in seen):
        assert time.monotonic() < deadline, seen
        seen += [line for line in read_queue().splitlines() if line.startswith(f"{job_id} ")]
        time.sleep(0.2)
    time.sleep(2)  # What starts within the second of its requeue is refused: credential revoked.
    subprocess.run(["scontrol", "update", f"JobId={job_id}", "StartTime=now"], check=False)
    return seen


def require_equal(run: Path, expected: Path) -> None:
    for name in ("metrics.csv", "predictions.csv", "val_predictions.csv"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    ours, theirs = (read_checkpoint(r / "checkpoints" / "last.ckpt") for r in (run, expected))
    assert ours["global_step"] == theirs["global_step"]
    assert all(torch.equal(ours["model"][key], theirs["model"][key]) for key in theirs["model"])
    assert read_finished(run)[1]["test"] == read_finished(expected)[1]["test"]


def test_grid_with_requeued_and_timed_out_jobs_equals_a_serial_one(
    slurm, tiny_bundle: Path, tmp_path: Path
):
    """Seed 1 is requeued while it trains, seed 2 gets the signal of a time limit."""
    serial = grid(tiny_bundle, tmp_path / "serial")
    answers = run_jobs(serial, ExecutorOptions(cpus=1, log_dir=tmp_path / "logs"))
    assert [answer.status for answer in answers] == ["finished"] * 3, answers

    jobs = grid(tiny_bundle, tmp_path / "slurm")
    log_dir = tmp_path / "logs"
    results: list[JobResult] = []
    waiting = threading.Thread(
        target=lambda: results.extend(run_jobs(jobs, options(tmp_path, max_parallel=2)))
    )
    waiting.start()
    requeued = once_trained(jobs[1], log_dir, "scontrol", "requeue")
    signalled = once_trained(jobs[2], log_dir, "scancel", "--signal=USR2")
    waiting.join(timeout=PATIENCE_SECONDS)
    assert [result.status for result in results] == ["finished"] * 3, results
    for job, expected in zip(jobs, serial, strict=True):
        require_equal(job.run_dir, expected.run_dir)
    for job, seen in ((jobs[1], requeued), (jobs[2], signalled)):
        log = (log_dir / "slurm" / f"{job_id_of(log_dir, job)}_0_log.out").read_text()
        assert "Stopped in epoch" in log, seen
        assert "Resuming after epoch" in log, seen
    again = run_jobs(jobs, options(tmp_path))
    assert [result.status for result in again] == ["earlier"] * 3


def test_interrupted_waiting_leaves_jobs_with_slurm_and_submits_none_twice(slurm, tmp_path: Path):
    code = (
        "import time; from functools import partial; from pathlib import Path;"
        "from experiments.executors import ExecutorOptions, Job, run_jobs;"
        f"tmp = Path({str(tmp_path)!r});"
        "jobs = [Job(str(n), tmp / str(n), partial(time.sleep, 20)) for n in range(2)];"
        "run_jobs(jobs, ExecutorOptions('slurm', cpus=1, memory_gb=1, log_dir=tmp / 'logs'))"
    )
    record = tmp_path / "logs" / "slurm" / "submitted.json"
    command = [sys.executable, "-c", code]
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for(record)
    ids = record.read_text()
    time.sleep(2)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert "2 stay with Slurm" in said
    assert "squeue --me --name leukofuse" in said
    assert len(read_queue().splitlines()) == 2
    jobs = [Job(str(n), tmp_path / str(n), partial(time.sleep, 20)) for n in range(2)]
    again = run_jobs(jobs, options(tmp_path))
    assert [result.status for result in again] == ["finished"] * 2, again
    assert record.read_text() == ids


def test_failed_and_cancelled_jobs_are_reported_with_reason_and_log(slurm, tmp_path: Path):
    jobs = [
        Job("broken", tmp_path / "broken", partial(int, "not a number")),
        Job("cancelled", tmp_path / "cancelled", partial(time.sleep, 300)),
    ]
    results: list[JobResult] = []
    waiting = threading.Thread(
        target=lambda: results.extend(run_jobs(jobs, options(tmp_path, memory_gb=1)))
    )
    waiting.start()
    wait_for(tmp_path / "logs" / "slurm" / "submitted.json")
    job_id = job_id_of(tmp_path / "logs", jobs[1])
    wait_for(tmp_path / "logs" / "slurm" / f"{job_id}_0_log.out")
    subprocess.run(["scancel", job_id], check=True)
    waiting.join(timeout=PATIENCE_SECONDS)
    broken, cancelled = results
    assert broken.status == cancelled.status == "failed"
    assert broken.reason is not None
    assert broken.reason.startswith("ValueError: invalid literal for int()")
    assert broken.log_path is not None
    assert "not a number" in broken.log_path.read_text()
    assert cancelled.reason is not None
    assert "CANCELLED" in cancelled.reason


def test_jobs_that_slurm_refuses_are_an_error_with_the_flags(slurm, tmp_path: Path):
    job = Job("one", tmp_path / "one", partial(time.sleep, 0))
    with pytest.raises(RunError, match="partition.*--partition"):
        run_jobs([job], options(tmp_path, partition="nowhere"))
