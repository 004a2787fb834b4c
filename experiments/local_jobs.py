"""Jobs as processes of this machine, a few at a time."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from submitit import LocalExecutor, LocalJob
from tqdm import tqdm

from experiments.jobs import ExecutorOptions, Job, JobResult
from experiments.resumable import ResumableJob
from experiments.submitted import failed, project_on_path, read_result
from trainers.device import hide_bars
from trainers.errors import InterruptedRunError, RunError

_POLL_SECONDS = 0.2
_NO_LIMIT_MINUTES = 60 * 24 * 365

log = logging.getLogger(__name__)


def run_local(jobs: Sequence[Job], options: ExecutorOptions) -> list[JobResult]:
    """Run jobs in processes of this machine, `options.max_parallel` at a time.

    Raises:
        RunError: A GPU is asked for and there is none.
        InterruptedRunError: The user stopped it; fits that ran have saved their state.
    """
    gpus = _find_gpus() if options.gpus else [""]
    executor = LocalExecutor(options.find_log_dir() / "local")
    executor.update_parameters(timeout_min=_NO_LIMIT_MINUTES, stderr_to_stdout=True)
    free = list(range(options.max_parallel or 1))
    waiting = list(reversed(jobs))
    running: dict[int, tuple[Job, LocalJob[None]]] = {}
    results: list[JobResult] = []
    with tqdm(total=len(jobs), desc="runs", unit="run", disable=hide_bars()) as bar:
        try:
            while waiting or running:
                while waiting and free:
                    slot, job = free.pop(0), waiting.pop()
                    running[slot] = job, _start(executor, job, options, gpus[slot % len(gpus)])
                for slot, (job, process) in list(running.items()):
                    if process.done():
                        results.append(_result(job, process))
                        del running[slot]
                        free.append(slot)
                        bar.update()
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            _stop([process for _, process in running.values()])
            raise InterruptedRunError(
                f"{len(results)} of {len(jobs)} runs ended; {len(running)} were stopped and go on "
                "from their last step, or epoch, with the same command."
            ) from None
    return results


def _start(
    executor: LocalExecutor, job: Job, options: ExecutorOptions, visible_gpu: str
) -> LocalJob[None]:
    resumable = ResumableJob(job.function, options.cpus, visible_gpu, own_group=True)
    with _deaf_to_interrupts(), project_on_path():
        submitted: LocalJob[None] = executor.submit(resumable)  # type: ignore[assignment]
    log.info("%s runs; see %s", job.name, submitted.paths.stdout)
    return submitted


def _result(job: Job, process: LocalJob[None]) -> JobResult:
    result = read_result(job, process) or failed(
        job, process, "The process ended without a result: it was killed, or out of memory."
    )
    if result.status == "failed":
        log.warning("%s failed: %s", job.name, result.reason)
    return result


def _stop(processes: Sequence[LocalJob[None]]) -> None:
    """Ask each to stop once, and wait for it to have saved."""
    log.warning("Stopping %d runs after their step.", len(processes))
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(int(process.job_id), signal.SIGTERM)
    while not all(process.done() for process in processes):
        time.sleep(_POLL_SECONDS)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that start meanwhile ignore Ctrl-C.

    The terminal sends it to all processes. submitit's controller would kill its job a second later,
    in the middle of a step, and before its state is saved.
    """
    try:
        earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # Not the main thread, which alone gets interrupts.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def _find_gpus() -> list[str]:
    """Return the names of the GPUs as ``CUDA_VISIBLE_DEVICES`` takes them."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(torch.cuda.device_count())]
    if not names:
        raise RunError("--gpus 1 was given, but PyTorch sees no GPU here. Leave it out.")
    return asked.split(",")[: len(names)] if asked else names
