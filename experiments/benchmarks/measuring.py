"""Ways to do the same work, measured in turn, each in a process of its own.

Its own, so that its peak memory, its memory allocator's settings and its threads are its own.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import nan
from multiprocessing import get_context, set_start_method
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from trainers.errors import RunError


@dataclass(frozen=True)
class Round:
    """One pass over the images.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Of all threads of the process; on a busy machine the wall time says little. NaN
            where processes work that it does not wait for.
        stages: Wall time by stage.
    """

    seconds: float
    cpu_seconds: float
    stages: Mapping[str, float]


RunRound = Callable[[], Round]
OpenWay = Callable[[], RunRound]
"""Makes ready and warms up what is measured; pickled, and called in the way's process."""


@dataclass(frozen=True)
class Measurement:
    """What a way took.

    Attributes:
        rounds: All of them.
        peak_memory_mb: Largest resident size of the way's process, libraries included.
    """

    rounds: tuple[Round, ...]
    peak_memory_mb: float

    @property
    def seconds(self) -> float:
        """Median wall time of a round."""
        return statistics.median(one.seconds for one in self.rounds)

    @property
    def cpu_seconds(self) -> float:
        """Median CPU time of a round."""
        return statistics.median(one.cpu_seconds for one in self.rounds)

    @property
    def stages(self) -> dict[str, float]:
        """Median wall time by stage."""
        names = self.rounds[0].stages
        return {name: statistics.median(one.stages[name] for one in self.rounds) for name in names}


def measure_in_turn(ways: Mapping[str, OpenWay], num_rounds: int) -> dict[str, Measurement]:
    """Return what each way took; the first round of each comes before the second of any.

    Raises:
        RunError: A way's process died.
        Exception: What a way raised.
    """
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_Process(name, way)) for name, way in ways.items()}
        rounds: dict[str, list[Round]] = {name: [] for name in ways}
        for _ in range(num_rounds):
            for name, process in processes.items():
                rounds[name].append(process.run_round())
        return {
            name: Measurement(tuple(rounds[name]), process.peak_memory_mb)
            for name, process in processes.items()
        }


class _Process:
    """A way's process, which runs a round when it is told to."""

    def __init__(self, name: str, open_way: OpenWay) -> None:
        context = get_context("spawn")
        self.name = name
        self.peak_memory_mb = 0.0
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, open_way))
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        try:
            self._receive()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run_round(self) -> Round:
        self._pipe.send("go")
        taken: Round
        taken, self.peak_memory_mb = self._receive()
        return taken

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError as error:
            self._process.join()
            raise RunError(
                f"The process of the {self.name} way ended with exit code "
                f"{self._process.exitcode}. If the memory was full, pass fewer --images or a "
                "smaller --batch-size."
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _end(self) -> None:
        # The way sees the end of the pipe and leaves; one in the middle of a round is stopped.
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(pipe: Connection, open_way: OpenWay) -> None:
    """Run a round at each message until the pipe is closed; send what was raised instead."""
    # A process that was spawned would spawn its loaders, too, where scripts fork theirs.
    set_start_method(None, force=True)
    try:
        run_round = open_way()
        pipe.send("ready")
        while True:
            pipe.recv()
            pipe.send((run_round(), peak_memory_mb()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process raises it.
        pipe.send(error)


def peak_memory_mb() -> float:
    """Return the largest resident size of this process up to now, libraries included."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux kilobytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    # Not ru_maxrss: on Linux it starts at the size of the process that this one was started by.
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    return int(kilobytes) / 1e3


def time_call(
    run: Callable[[], object], clean_up: Callable[[], object], *, is_cpu_known: bool = True
) -> Round:
    """Return the time of `run`; CPU time is that of the process and of those it waits for."""
    before, start = os.times(), time.perf_counter()
    run()
    seconds, after = time.perf_counter() - start, os.times()
    clean_up()
    return Round(seconds, sum(after[:4]) - sum(before[:4]) if is_cpu_known else nan, {})
