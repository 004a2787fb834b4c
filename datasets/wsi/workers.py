"""Runs jobs in processes of their own, so that one that crashes takes no other with it.

A slide may make a decoder crash or exhaust the memory; a pool would lose all its workers by that.
Each job therefore gets a new process, forked from a server that has imported everything already.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Final, Generic, TypeVar

from datasets.errors import DatasetError

Job = TypeVar("Job")
Result = TypeVar("Result")

_USER_ERRORS: Final = (DatasetError, OSError, ValueError, MemoryError)


@dataclass(frozen=True)
class JobFailure:
    """Why a job has no result."""

    reason: str


@dataclass
class _Running(Generic[Job]):
    job: Job
    process: BaseProcess
    connection: Connection


def run_isolated(
    function: Callable[[Job], Result], jobs: Sequence[Job], num_workers: int
) -> Iterator[tuple[Job, Result | JobFailure]]:
    """Yield each job with its result or failure, in the order in which they end.

    Args:
        function: Importable by name.
        jobs: That can be pickled, as can the results.
        num_workers: Processes at a time.
    """
    context = _get_context(function.__module__)
    waiting = list(reversed(jobs))
    running: list[_Running[Job]] = []
    try:
        while waiting or running:
            while waiting and len(running) < num_workers:
                running.append(_start(context, function, waiting.pop()))
            ended = wait([entry.connection for entry in running])
            for entry in [entry for entry in running if entry.connection in ended]:
                running.remove(entry)
                yield entry.job, _collect(entry)
    finally:
        for entry in running:
            entry.process.terminate()
        for entry in running:
            entry.process.join()


def _get_context(module: str) -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module, *_list_modules_of_script()])
    with _search_path_in_environment():
        forkserver.ensure_running()
    return context


def _list_modules_of_script() -> list[str]:
    """Return the modules whose names the running script imports.

    Each new process runs the script's top level again, and Python before 3.12.8 and 3.13.1 does not
    do so in the server, though told to (cpython issue 126631): a second or more a job, unless the
    server has these modules already.
    """
    names = vars(sys.modules["__main__"]).values()
    modules = {getattr(value, "__module__", None) for value in names}
    return sorted(name for name in modules if isinstance(name, str) and name in sys.modules)


@contextmanager
def _search_path_in_environment() -> Iterator[None]:
    """Let a server that is started here find modules where this process does.

    Those Pythons tell it of the working directory alone, where another project may lie, and what
    it does not find it leaves out without a word.
    """
    wanted = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONSAFEPATH": "1",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(context: BaseContext, function: Callable[[Job], Result], job: Job) -> _Running[Job]:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(  # type: ignore[attr-defined]
        target=_work, args=(function, job, theirs), daemon=True
    )
    process.start()
    theirs.close()  # So that the end of the process is the end of the pipe.
    return _Running(job, process, ours)


def _work(function: Callable[[Job], Result], job: Job, connection: Connection) -> None:
    # Ctrl-C reaches the whole process group; the parent alone answers it, by terminate, and an
    # exit that unwinds removes unfinished files.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    Thread(target=_leave_with_parent, daemon=True).start()
    outcome: Result | JobFailure
    try:
        outcome = function(job)
    except _USER_ERRORS as error:
        outcome = JobFailure(str(error) or type(error).__name__)
    connection.send(outcome)
    connection.close()


def _leave_with_parent() -> None:
    """End this process as soon as the one that asked for the job is gone, however it ended.

    It was forked from the server, which outlives the other for a while.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _collect(entry: _Running[Job]) -> Result | JobFailure:
    try:
        outcome: Result | JobFailure = entry.connection.recv()
    except EOFError:
        entry.process.join()
        code = entry.process.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return JobFailure(f"Its process {how} before it was done; out of memory, or a crash.")
    entry.process.join()
    return outcome
