"""Jobs in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets.errors import DatasetError
from datasets.wsi.workers import JobFailure, run_isolated

ROOT = Path(__file__).resolve().parents[3]


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


def test_what_the_script_imports_is_imported_once_for_all_jobs_from_its_own_folder(tmp_path: Path):
    rival = tmp_path / "elsewhere"
    rival.mkdir()
    (rival / "jobs.py").write_text("def work(job): return 'of another project'\n")
    (tmp_path / "jobs.py").write_text("def work(job): return job * job\n")
    (tmp_path / "heavy.py").write_text(
        "from pathlib import Path\n"
        "with Path(__file__).with_name('imports').open('a') as log: log.write('x')\n"
        "def use(): pass\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from datasets.wsi.workers import run_isolated\n"
        "from heavy import use\n"
        "from jobs import work\n"
        "if __name__ == '__main__':\n"
        "    print(sorted(result for _, result in run_isolated(work, range(4), 1)))\n"
    )
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, timeout=120, cwd=rival
    )
    assert ended.stdout == "[0, 1, 4, 9]\n"
    # By the script itself, and by the server that the jobs' processes are forked from.
    assert (tmp_path / "imports").read_text() == "xx"


def test_jobs_end_with_the_process_that_asked_for_them(tmp_path: Path):
    (tmp_path / "jobs.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "def work(job):\n"
        "    Path(job).write_text(str(os.getpid())); time.sleep(600)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from datasets.wsi.workers import run_isolated\n"
        "from jobs import work\n"
        "if __name__ == '__main__':\n"
        f"    list(run_isolated(work, [{str(tmp_path / 'pid')!r}], 1))\n"
    )
    parent = subprocess.Popen([sys.executable, script])
    deadline = time.monotonic() + 120
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    job = Path("/proc", (tmp_path / "pid").read_text())
    while job.exists() and "(zombie)" not in (job / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_jobs_give_nothing():
    assert list(run_isolated(work, [], 2)) == []
