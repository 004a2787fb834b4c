"""What jobs in processes of their own have in common: how they start and what they leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from submitit import Job as SubmittedJob

from experiments.jobs import Job, JobResult

_ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def project_on_path() -> Iterator[None]:
    """Let processes that start meanwhile import the project, from whatever folder."""
    earlier = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *([earlier] if earlier else [])])
    try:
        yield
    finally:
        if earlier is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = earlier


def read_result(job: Job, submitted: SubmittedJob[None]) -> JobResult | None:
    """Return the result that a job's process left, None if it left none."""
    if not submitted.paths.result_pickle.exists():
        return JobResult(job.name, job.run_dir, "finished") if job.is_finished else None
    error = submitted.exception()
    if error is None:
        return JobResult(job.name, job.run_dir, "finished")
    return failed(job, submitted, _last_error(str(error)))


def failed(job: Job, submitted: SubmittedJob[None], reason: str) -> JobResult:
    """Return the result of a job that failed for `reason`."""
    return JobResult(job.name, job.run_dir, "failed", reason, submitted.paths.stdout)


def _last_error(text: str) -> str:
    """Return type and message of the error that a traceback ends with.

    `text` is submitit's: a heading, the traceback between lines of dashes, and where the logs lie.
    """
    trace = text.split(f"\n{'-' * 22}\n")[1] if "-" * 22 in text else text
    lines = trace.rsplit('\n  File "', 1)[-1].splitlines()[1:]
    while lines and lines[0].startswith(" "):
        del lines[0]
    return "\n".join(lines) or trace.strip()
