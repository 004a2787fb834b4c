"""Jobs on a Slurm cluster: submitted once, awaited, found again by the next command."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from submitit import SlurmExecutor, SlurmJob
from submitit.core.utils import FailedJobError, FailedSubmissionError
from tqdm import tqdm

from datasets.locks import OwnedLock
from experiments.jobs import DEFAULT_MINUTES, ExecutorOptions, Job, JobResult
from experiments.resumable import ResumableJob
from experiments.submitted import failed, project_on_path, read_result
from trainers.device import hide_bars
from trainers.errors import InterruptedRunError, RunError
from trainers.run import read_json, write_json

JOB_NAME: Final = "leukofuse"

_SUBMITTED = "submitted.json"
_MAX_RESTARTS = 50
_WARNING_SECONDS = 120
_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 1.0, 30.0
_SLOW_DISK_SECONDS = 15.0

log = logging.getLogger(__name__)


def run_slurm(jobs: Sequence[Job], options: ExecutorOptions) -> list[JobResult]:
    """Submit the jobs that are not in Slurm's queue yet, and wait for all.

    Raises:
        RunError: There is no Slurm here, or it refuses the jobs.
        InterruptedRunError: The user stopped the waiting; the jobs go on.
    """
    folder = options.find_log_dir() / "slurm"
    submitted = _submit(jobs, options, folder)
    waiting = {job.name: job for job in jobs}
    results: list[JobResult] = []
    try:
        _wait(waiting, submitted, results)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"{len(results)} of {len(jobs)} runs ended; {len(waiting)} stay with Slurm. See them "
            f"with squeue --me --name {JOB_NAME}, and what they print in {folder}; end them with "
            f"scancel --me --name {JOB_NAME}. The same command goes on: it submits none twice."
        ) from None
    return results


def _submit(
    jobs: Sequence[Job], options: ExecutorOptions, folder: Path
) -> dict[str, SlurmJob[None]]:
    """Return Slurm's job for each job's name: one that waits or runs already, or a new one."""
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise RunError(
            "--executor slurm was given, but there is no sbatch and srun here. Run it on a node of "
            "a Slurm cluster, or pass --executor local."
        )
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / _SUBMITTED
    # Two commands at a time must not submit the same run.
    with OwnedLock(folder / ".lock", folder, waits=True):
        ids = read_json(record) if record.is_file() else {}
        queue = _read_queue()
        found = {
            job.name: SlurmJob[None](folder, ids[key])
            for job in jobs
            if ids.get(key := str(job.run_dir.resolve())) in queue
        }
        if found:
            log.info("%d runs are with Slurm already.", len(found))
        new = [job for job in jobs if job.name not in found]
        for job, submitted in zip(new, _submit_new(new, options, folder), strict=True):
            found[job.name] = submitted
            ids[str(job.run_dir.resolve())] = submitted.job_id
            log.info("%s is Slurm's job %s", job.name, submitted.job_id)
        write_json(record, ids)
    return found


def _submit_new(
    jobs: Sequence[Job], options: ExecutorOptions, folder: Path
) -> Sequence[SlurmJob[None]]:
    """Submit jobs, several as one array, of which `options.max_parallel` run at a time."""
    if not jobs:
        return []
    cpus = options.cpus or 1
    minutes = options.minutes or DEFAULT_MINUTES
    executor = SlurmExecutor(folder, max_num_timeout=_MAX_RESTARTS)
    executor.update_parameters(
        job_name=JOB_NAME,
        time=minutes,
        mem=None if options.memory_gb is None else f"{round(options.memory_gb * 1024)}M",
        cpus_per_task=cpus,
        gpus_per_node=options.gpus or None,
        partition=options.partition,
        array_parallelism=options.max_parallel or len(jobs),
        # A job of minutes still has most of its time before it is told to stop.
        signal_delay_s=min(_WARNING_SECONDS, 20 * minutes),
        # Since Slurm 22.05 srun does not take over the cores that sbatch asked for.
        srun_args=[f"--cpus-per-task={cpus}"],
        stderr_to_stdout=True,
        additional_parameters={"requeue": True},
    )
    functions = [ResumableJob(job.function, options.cpus) for job in jobs]
    try:
        with project_on_path():
            return executor.submit_array(functions)  # type: ignore[return-value]
    except (FailedJobError, FailedSubmissionError) as error:
        raise RunError(
            f"Slurm refuses the jobs: {error}. See --partition, --gpus, --cpus, --memory-gb and "
            "--minutes; sinfo shows what there is."
        ) from error


def _wait(
    waiting: dict[str, Job], submitted: dict[str, SlurmJob[None]], results: list[JobResult]
) -> None:
    """Move jobs out of `waiting` as they end."""
    pause = _SHORTEST_POLL_SECONDS
    gone_since: dict[str, float] = {}
    with tqdm(total=len(waiting), desc="runs", unit="run", disable=hide_bars()) as bar:
        while waiting:
            queue = _try_read_queue()
            for job in list(waiting.values()) if queue is not None else []:
                slurm_job = submitted[job.name]
                # A result is final only when the job is gone: Slurm may be starting it again.
                if queue is None or slurm_job.job_id in queue:
                    gone_since.pop(job.name, None)
                    continue
                result = read_result(job, slurm_job)
                since = gone_since.setdefault(job.name, time.monotonic())
                if result is None and time.monotonic() - since > _SLOW_DISK_SECONDS:
                    result = failed(job, slurm_job, _how_it_ended(slurm_job.job_id))
                if result is not None:
                    if result.status == "failed":
                        log.warning("%s failed: %s", job.name, result.reason)
                    results.append(result)
                    del waiting[job.name]
                    bar.update()
                    pause = _SHORTEST_POLL_SECONDS
            states = [queue[i] for n in waiting if queue and (i := submitted[n].job_id) in queue]
            bar.set_postfix(running=states.count("RUNNING"), queued=states.count("PENDING"))
            if waiting:
                time.sleep(pause)
                pause = min(1.2 * pause, _LONGEST_POLL_SECONDS)


def _read_queue() -> dict[str, str]:
    """Return the state of each of the user's jobs that waits, runs or is being ended, by its id.

    `sacct`, which submitit asks, needs an accounting database that small clusters lack.

    Raises:
        RunError: Slurm's controller does not answer.
    """
    command = ["squeue", "--me", "--name", JOB_NAME, "--array", "--noheader", "--format=%i %T"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RunError(f"Slurm does not answer: {answer.stderr.strip()}")
    return dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())


def _try_read_queue() -> dict[str, str] | None:
    """Return `_read_queue`, or None while the controller does not answer."""
    try:
        return _read_queue()
    except RunError as error:
        log.warning("%s Asking again.", error)
        return None


def _how_it_ended(job_id: str) -> str:
    """Say what Slurm knows of a job that left the queue without a result."""
    answer = subprocess.run(
        ["scontrol", "show", "job", "--oneliner", job_id],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"JobState=(\S+) Reason=(\S+)", answer.stdout)
    state = f"{found[1]}, {found[2]}" if found else "it does not remember how"
    return f"Slurm ended job {job_id} before it had a result: {state}."
