"""Runs work in forked processes and kills them by SIGKILL at moments drawn at random.

A moment is a share of the processor time that the work takes undisturbed, and not of the hours of
the clock, so that it means the same on a machine that others share.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

_POLL_SECONDS = 0.004
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        pid: Of the process, and of its group.
        code: Exit code; negative: the signal.
        cpu_seconds: Processor time of it and its children when it was last looked at.
    """

    pid: int
    code: int
    cpu_seconds: float


def run_to_end(work: Callable[[], object], log_path: Path) -> Ending:
    """Run `work` in a process of its own and wait for it."""
    return _watch(_start(work, log_path), float("inf"), whole_group=True)


def run_and_kill(
    work: Callable[[], object], log_path: Path, after: float, *, whole_group: bool
) -> Ending:
    """Run `work`, and kill it once it has used `after` seconds of processor time.

    Args:
        work: To run.
        log_path: What it prints.
        after: Processor time in seconds.
        whole_group: Kill its children with it; else they are left to notice by themselves.
    """
    return _watch(_start(work, log_path), after, whole_group=whole_group)


def end_group(pid: int) -> None:
    """End whatever a killed process has left running."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _start(work: Callable[[], object], log_path: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Else each slide's process would import the soak, and torch, as its main module.
        sys.modules["__main__"] = ModuleType("__main__")
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        work()
        code = 0
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:  # noqa: BLE001 (whatever ends the work is for the log)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(pid: int, limit: float, *, whole_group: bool) -> Ending:
    used = 0.0
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return Ending(pid, os.waitstatus_to_exitcode(status), used)
        used = max(used, _cpu_seconds(pid))
        if used >= limit:
            (os.killpg if whole_group else os.kill)(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            return Ending(pid, os.waitstatus_to_exitcode(status), used)
        time.sleep(_POLL_SECONDS)


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, of its children, and of those that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS + sum(_cpu_seconds(int(c)) for c in children)
