"""Signs of life between the processes of a run, so that the end of one is not noticed late."""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import TracebackType
from typing import Final, Self

import torch
from torch import distributed

from trainers.distributed import describe_loss
from trainers.errors import RunError

_BEAT_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 20.0
_EXIT_CODE: Final = 2
"""As after every other error that ends a script."""

log = logging.getLogger(__name__)


class Watch:
    """Sends signs of life to the other processes of a run while a ``with`` block lasts.

    Much of a run goes without an exchange: one process extracts features for all, process 0 fits a
    probe or draws pictures; and NCCL waits minutes for a process that was killed. So a thread sends
    signs of life over connections of its own, which break when a process ends. The main thread then
    has some seconds to come to its own next exchange and unwind; else the process ends where it is,
    which a run's files bear as they bear SIGKILL.

    The block ends when it has ended in all processes.

    Args:
        world_size: Number of processes, which `torch.distributed` connects already; one alone has
            nobody to watch.

    Raises:
        RunError: At the end of the block: another process failed or is gone.
    """

    def __init__(self, world_size: int) -> None:
        self._world_size = world_size
        self._is_leaving = threading.Event()
        self._has_failed = False
        self._loss: str | None = None
        self._group: distributed.ProcessGroup | None = None
        self._thread = threading.Thread(target=self._exchange, name="watch", daemon=True)

    def __enter__(self) -> Self:
        if self._world_size > 1:
            self._group = distributed.new_group(backend="gloo")
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._group is None:
            return
        self._has_failed = error is not None
        self._is_leaving.set()
        # One that fails has to end even where another does not answer.
        self._thread.join(_GRACE_SECONDS if self._has_failed else None)
        if not self._thread.is_alive():
            distributed.destroy_process_group(self._group)
        if error is None and self._loss is not None:
            raise RunError(describe_loss(self._loss))

    def _exchange(self) -> None:
        """Send signs of life until all processes leave; end this one if another is gone."""
        try:
            while True:
                self._is_leaving.wait(_BEAT_SECONDS)
                is_leaving = self._is_leaving.is_set()
                own = [is_leaving, is_leaving and self._has_failed]
                total = torch.tensor(own, dtype=torch.int64)
                distributed.all_reduce(total, group=self._group)
                num_leaving, num_failed = total.tolist()
                if num_failed:
                    self._loss = "it failed."
                    break
                if num_leaving == self._world_size:
                    return
        except RuntimeError as error:
            self._loss = str(error)
        if not self._is_leaving.wait(_GRACE_SECONDS):
            log.error("Error: %s", describe_loss(str(self._loss)))
            sys.stdout.flush()
            os._exit(_EXIT_CODE)
