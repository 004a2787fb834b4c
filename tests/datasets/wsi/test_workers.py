"""Jobs in processes of their own."""

from __future__ import annotations

import os
import signal
import time

import pytest

from datasets.errors import DatasetError
from datasets.wsi.workers import JobFailure, run_isolated


def work(job: int) -> int:
    """Fail, crash or succeed; at module level, so that a process can import it by name."""
    if job == 1:
        raise DatasetError("job one is wrong")
    if job == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == 3:
        os._exit(7)
    return job * job


def work_long(job: int) -> int:
    time.sleep(600)
    return job


@pytest.mark.parametrize("num_workers", [1, 3])
def test_failures_and_crashes_cost_their_own_job_only(num_workers: int):
    outcomes = dict(run_isolated(work, range(6), num_workers))
    assert {job: outcome for job, outcome in outcomes.items() if job in (0, 4, 5)} == {
        0: 0, 4: 16, 5: 25,
    }  # fmt: skip
    assert outcomes[1] == JobFailure("job one is wrong")
    assert "signal 11" in outcomes[2].reason
    assert "exit code 7" in outcomes[3].reason


def test_leaving_early_ends_the_processes():
    jobs = run_isolated(work_long, range(2), 2)
    start = time.monotonic()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(jobs)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - start < 30


def test_no_jobs_give_nothing():
    assert list(run_isolated(work, [], 2)) == []
