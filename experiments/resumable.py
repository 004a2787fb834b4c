"""A job as its own process runs it: a signal stops it where it can go on, and it goes on."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

import torch
from submitit.helpers import DelayedSubmission

from trainers.errors import InterruptedRunError

_STOPPED = 128 + signal.SIGTERM

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumableJob:
    """The callable that is handed to submitit.

    SIGUSR2, which Slurm sends before the time is up, stops a fit after its step, when its state is
    saved, and submits the job again. SIGTERM, which Slurm sends before it preempts, requeues or
    cancels, stops alike and leaves: a preempted or requeued job is started again by Slurm, a
    cancelled one is not. A job that leaves so has no result yet.
    """

    function: Callable[[], object]
    """Of the job."""
    threads: int | None = None
    """That PyTorch computes with; None: its choice."""
    visible_gpu: str | None = None
    """``CUDA_VISIBLE_DEVICES`` of the job; None: as it is."""
    own_group: bool = False
    """Leave the terminal's process group: its Ctrl-C is for the process that waits."""

    def __call__(self) -> None:
        """Run the job.

        Raises:
            SystemExit: It was stopped, and goes on later.
        """
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        logging.getLogger("submitit").propagate = False  # It writes to the same log by itself.
        if self.own_group:
            os.setpgrp()
        if self.visible_gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.visible_gpu
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        with _StopSignals() as signals:
            try:
                self.function()
            except InterruptedRunError as error:
                signals.leave(error)
            except Exception as error:
                # Whatever the signal broke is done again; a true error comes again, too.
                if not signals.resubmits:
                    raise
                signals.leave(error)

    def checkpoint(self) -> DelayedSubmission:
        """Return what is submitted again: the same, since the run folder holds the state."""
        return DelayedSubmission(self)


class _StopSignals:
    """Takes SIGUSR2 and SIGTERM while its block lasts.

    Attributes:
        resubmits: Whether SIGUSR2 came and the job is to be submitted again.
    """

    def __init__(self) -> None:
        self.resubmits = False
        self._process = os.getpid()
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._earlier = {
            signal.SIGUSR2: signal.signal(signal.SIGUSR2, self._resubmit),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._terminate),
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def leave(self, error: Exception) -> None:
        """Exit without a result, after submitting the job again if that was asked for."""
        log.warning("%s: %s", type(error).__name__, error)
        if self.resubmits:
            self._call_submitit()
        sys.exit(_STOPPED)

    def _resubmit(self, number: int, frame: FrameType | None) -> None:
        # Slurm signals every process of a job; loaders inherit this handler.
        if os.getpid() != self._process or self.resubmits:
            return
        self.resubmits = True
        if signal.getsignal(signal.SIGTERM) == self._terminate:
            self._call_submitit()
        else:
            # A fit has taken SIGTERM over: it saves, and raises InterruptedRunError.
            signal.raise_signal(signal.SIGTERM)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        sys.exit(_STOPPED)

    def _call_submitit(self) -> None:
        """Call its handler, which requeues and exits, or raises after too many restarts."""
        self._earlier[signal.SIGUSR2](signal.SIGUSR2, None)
