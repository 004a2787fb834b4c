"""Carries out a grid of runs: one by one here, in processes of this machine, or on Slurm."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Sequence

import torch
from tqdm import tqdm

from experiments.jobs import ExecutorOptions, Job, JobResult
from experiments.local_jobs import run_local
from experiments.slurm_jobs import run_slurm
from trainers.device import hide_bars
from trainers.errors import InterruptedRunError, RunError

__all__ = ["ExecutorOptions", "Job", "JobResult", "run_jobs"]

log = logging.getLogger(__name__)


def run_jobs(jobs: Sequence[Job], executor: ExecutorOptions) -> list[JobResult]:
    """Run every job whose run is not finished; one that fails does not stop the others.

    Args:
        jobs: With different names and run folders.
        executor: Where and how.

    Returns:
        A result for each job, in their order.

    Raises:
        RunError: Two jobs share a name or a run folder, or Slurm is not there or refuses the jobs.
        InterruptedRunError: The user stopped it; the message says what goes on and how to go on.
    """
    _require_different(jobs)
    results = {
        job.name: JobResult(job.name, job.run_dir, "earlier") for job in jobs if job.is_finished
    }
    if results:
        log.info("%d of %d runs are finished already.", len(results), len(jobs))
    left = [job for job in jobs if job.name not in results]
    run = {"serial": _run_serial, "local": run_local, "slurm": run_slurm}[executor.executor]
    if left:
        results |= {result.name: result for result in run(left, executor)}
    return [results[job.name] for job in jobs]


def _run_serial(jobs: Sequence[Job], options: ExecutorOptions) -> list[JobResult]:
    threads = torch.get_num_threads()
    if options.cpus is not None:
        torch.set_num_threads(options.cpus)
    try:
        bar = tqdm(jobs, "runs", unit="run", disable=hide_bars())
        return [_run_here(job, options) for job in bar]
    finally:
        torch.set_num_threads(threads)


def _run_here(job: Job, options: ExecutorOptions) -> JobResult:
    try:
        job.function()
    except InterruptedRunError:
        raise
    except Exception as error:  # noqa: BLE001 (any failure of one run; the others go on)
        log_path = options.find_log_dir() / "serial" / f"{job.name.replace('/', '-')}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log_path.write_text(traceback.format_exc())
        reason = f"{type(error).__name__}: {error}"
        log.warning("%s failed: %s", job.name, reason)
        return JobResult(job.name, job.run_dir, "failed", reason, log_path)
    return JobResult(job.name, job.run_dir, "finished")


def _require_different(jobs: Sequence[Job]) -> None:
    for what, values in (
        ("name", [job.name for job in jobs]),
        ("run folder", [str(job.run_dir.resolve()) for job in jobs]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise RunError(f"Two jobs of the grid have the same {what}: {', '.join(twice)}.")
