"""Where the time of a round goes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from experiments.benchmarks.measuring import Round

STAGES: Final = (
    "read", "decode", "resize", "copy", "forward", "backward", "optimizer", "other",
)  # fmt: skip
"""copy: collate, move to the device, convert to float, augment. other: what has no stage."""


class StageClock:
    """Charges wall time to the innermost stage that is open; one thread at a time.

    On a GPU it waits for the device where a stage begins or ends, so that the stage is charged with
    its own work.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self.start("other")

    def start(self, stage: str) -> None:
        """Begin a round, outside all others in `stage`."""
        self._wait()
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._open = [stage]
        self._start = self._since = time.perf_counter()
        self._cpu_start = time.process_time()

    def switch(self, stage: str) -> None:
        """Let what is outside all other stages be `stage` from now on."""
        self._charge()
        self._open[0] = stage

    def read(self) -> Round:
        """Return the round up to now."""
        self._charge()
        return Round(
            self._since - self._start, time.process_time() - self._cpu_start, dict(self._seconds)
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge the ``with`` block to the stage `name`, less what stages inside it take."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Charge every call of the function `name` of a class or module to `stage` from now on."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                return function(*args, **kwargs)

        setattr(owner, name, timed)

    def _wait(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize()

    def _charge(self) -> None:
        self._wait()
        now = time.perf_counter()
        self._seconds[self._open[-1]] += now - self._since
        self._since = now
