"""Grids in this process and in processes of their own; Slurm itself has tests/slurm."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from experiments import base_wbc
from experiments.executors import ExecutorOptions, Job, JobResult, run_jobs
from tests.experiments.grid_jobs import fail, finish, kill, stop
from trainers.errors import InterruptedRunError, RunError


def grid(tmp_path: Path) -> list[Job]:
    """One run that ends well, then one that fails."""
    return [
        Job("base/a", tmp_path / "a", partial(finish, tmp_path / "a")),
        Job("fused/b", tmp_path / "b", partial(fail, tmp_path / "b")),
    ]


def require_reported(finished: JobResult, failed: JobResult, tmp_path: Path) -> None:
    assert finished == JobResult("base/a", tmp_path / "a", "finished")
    assert (failed.name, failed.run_dir, failed.status) == ("fused/b", tmp_path / "b", "failed")
    assert failed.reason is not None
    assert "RunError: b cannot be resumed:\n  seed: 0 there, 1 now" in failed.reason
    assert failed.reason.endswith("Pass --overwrite.")
    assert "Traceback" not in failed.reason
    assert failed.log_path is not None
    assert "Traceback" in failed.log_path.read_text()


def test_a_failure_is_reported_and_the_others_go_on(tmp_path: Path):
    finished, failed = grid(tmp_path)
    options = ExecutorOptions(log_dir=tmp_path / "logs")
    reported, ended = run_jobs([failed, finished], options)
    require_reported(ended, reported, tmp_path)


def test_local_jobs_end_well_fail_are_killed_or_stopped_two_at_a_time(tmp_path: Path):
    jobs = [
        *grid(tmp_path),
        Job("killed", tmp_path / "c", kill),
        Job("stopped", tmp_path / "d", stop),
    ]
    options = ExecutorOptions("local", cpus=1, max_parallel=2, log_dir=tmp_path / "logs")
    finished, failed, killed, stopped = run_jobs(jobs, options)
    require_reported(finished, failed, tmp_path)
    for result in (killed, stopped):
        assert result.status == "failed"
        assert result.reason is not None
        assert "ended without a result" in result.reason
    assert stopped.log_path is not None
    assert "Stopped in epoch 1" in stopped.log_path.read_text()
    starts = sorted(p.stat().st_mtime for p in (tmp_path / "logs").rglob("*_submitted.pkl"))
    ends = [p.stat().st_mtime for p in (tmp_path / "logs").rglob("*_result.pkl")]
    assert len(starts) == 4
    assert starts[1] < min(ends) <= starts[2]


def test_finished_runs_are_not_run_again_and_failed_ones_are(tmp_path: Path):
    options = ExecutorOptions(log_dir=tmp_path / "logs")
    for name in ("a", "b"):
        finish(tmp_path / name)
    # Either function would fail.
    jobs = [Job(name, tmp_path / name, partial(finish, tmp_path / name)) for name in ("a", "b")]
    (tmp_path / "b" / "summary.json").unlink()
    assert [result.status for result in run_jobs(jobs, options)] == ["earlier", "failed"]
    (tmp_path / "b").rmdir()
    assert [result.status for result in run_jobs(jobs, options)] == ["earlier", "finished"]


def test_results_stand_in_the_order_of_the_jobs(tmp_path: Path):
    finish(tmp_path / "1")
    jobs = [Job(str(n), tmp_path / str(n), partial(finish, tmp_path / str(n))) for n in range(3)]
    results = run_jobs(jobs, ExecutorOptions(log_dir=tmp_path / "logs"))
    assert [(result.name, result.status) for result in results] == [
        ("0", "finished"), ("1", "earlier"), ("2", "finished"),
    ]  # fmt: skip


def test_serial_stops_the_whole_grid_when_the_user_stops_a_run(tmp_path: Path):
    jobs = [
        Job("a", tmp_path / "a", stop),
        Job("b", tmp_path / "b", partial(finish, tmp_path / "b")),
    ]
    with pytest.raises(InterruptedRunError, match="epoch 1"):
        run_jobs(jobs, ExecutorOptions(log_dir=tmp_path / "logs"))
    assert not (tmp_path / "b").exists()


def test_interrupt_stops_local_fits_after_their_step(tiny_bundle: Path, forked, tmp_path: Path):
    """Ctrl-C at a terminal reaches the whole process group; the run then goes on to its end."""
    said = tmp_path / "said"

    def work() -> None:
        os.setsid()
        options = base_wbc.Options(
            data_root=tiny_bundle, runs_root=tmp_path, epochs=50, batch_size=2, max_train_images=8,
            device="cpu", resume=True,
        )  # fmt: skip
        job = Job("base", run_dir, partial(base_wbc.main, options))
        try:
            run_jobs([job], ExecutorOptions("local", cpus=1, log_dir=tmp_path / "logs"))
        except InterruptedRunError as error:
            said.write_text(str(error))

    run_dir = tmp_path / "base_wbc" / "split-100" / "seed-0"
    process = forked(work)
    deadline = time.monotonic() + 120
    while not (run_dir / "checkpoints" / "last.ckpt").exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.join(timeout=60)
    assert "1 were stopped and go on" in said.read_text()
    (log,) = (tmp_path / "logs" / "local").glob("*_log.out")
    assert "InterruptedRunError: Stopped in epoch" in log.read_text()
    assert not list((tmp_path / "logs" / "local").glob("*_result.pkl"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"executor": "serial", "gpus": 1}, "--gpus does nothing with --executor serial"),
        ({"executor": "local", "minutes": 5}, "--minutes does nothing.*pass --executor slurm"),
        ({"executor": "slurm", "cpus": 0}, "--cpus must be above 0, not 0"),
        ({"executor": "slurm", "memory_gb": -1.0}, "--memory-gb must be above 0"),
        ({"executor": "serial", "max_parallel": 2}, "pass --executor local or slurm"),
    ],
)
def test_options_that_the_executor_would_not_heed_are_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ExecutorOptions(**changes)


def test_without_slurm_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="no sbatch and srun here.*--executor local"):
        run_jobs([Job("a", tmp_path / "a", kill)], ExecutorOptions("slurm", log_dir=tmp_path))


def test_jobs_that_share_a_run_folder_are_refused(tmp_path: Path):
    jobs = [Job("a", tmp_path / "run", kill), Job("b", tmp_path / "x" / ".." / "run", kill)]
    with pytest.raises(RunError, match=r"same run folder: .*run\."):
        run_jobs(jobs, ExecutorOptions(log_dir=tmp_path))


def test_requests_that_slurm_gets_are_those_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """With programs in place of Slurm's that write down what they are given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, answer in (
        ("sbatch", f'cp "$1" {tmp_path}/script; echo Submitted batch job 7'),
        ("squeue", "true"),
        ("srun", "true"),
        ("scontrol", "echo JobState=OUT_OF_MEMORY Reason=OutOfMemory"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{answer}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("experiments.slurm_jobs._SLOW_DISK_SECONDS", 0.0)
    options = ExecutorOptions(
        "slurm", gpus=1, cpus=4, memory_gb=7.5, minutes=30, partition="short", max_parallel=1,
        log_dir=tmp_path / "logs",
    )  # fmt: skip
    jobs = [Job(name, tmp_path / name, kill) for name in ("a", "b")]
    results = run_jobs(jobs, options)
    script = (tmp_path / "script").read_text()
    for line in (
        "--array=0-1%1", "--cpus-per-task=4", "--gpus-per-node=1", "--mem=7680M", "--requeue",
        "--partition=short", "--time=30", "--signal=USR2@120", "--job-name=leukofuse",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    assert "--cpus-per-task=4 " in script.split("\nsrun ")[1]
    assert [result.status for result in results] == ["failed", "failed"]
    assert results[1].reason is not None
    assert "ended job 7_1" in results[1].reason
    assert "OUT_OF_MEMORY" in results[1].reason
