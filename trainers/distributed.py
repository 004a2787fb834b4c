"""What a process of several says when another one is gone."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from trainers.errors import RunError

_LOST: Final = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|socket", re.IGNORECASE)
"""Gloo's errors have no class of their own."""


@contextmanager
def explain_lost_processes() -> Iterator[None]:
    """Turn the errors of a broken connection between processes into one that says what to do.

    A process learns of another's end when they next exchange something: gradients after each step,
    outputs after an evaluation. Where that is long to come, `trainers.watch` does.

    Raises:
        RunError: Another process of this run has ended.
    """
    try:
        yield
    except (RuntimeError, SystemExit) as error:
        loss = _find_loss(error)
        if loss is None or not _are_several():
            raise
        raise RunError(describe_loss(str(loss))) from error


@contextmanager
def unwind_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end one of several processes as an error does, by SystemExit.

    torchrun sends it to all others as soon as one has ended. By default it would end a process at
    once, and with it what the error of the broken connection, on its way out, has to say.
    """
    if not _are_several() or threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _are_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _find_loss(error: BaseException) -> BaseException | None:
    """Return the error of a broken connection: `error`, or one that an exit has cut short."""
    cause: BaseException | None = error
    while cause is not None and not _is_loss(cause):
        cause = cause.__context__ if isinstance(error, SystemExit) else None
    return cause


def _is_loss(error: BaseException) -> bool:
    # By name: what needs no torch, as doctor.py, uses this too.
    is_told = any(kind.__name__ == "DistError" for kind in type(error).__mro__)
    return isinstance(error, RuntimeError) and bool(is_told or _LOST.search(str(error)))


def describe_loss(reason: str) -> str:
    """Return what a process says that ends since another one is gone, and what to do."""
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "?"))
    return (
        f"Process {rank} of {os.environ['WORLD_SIZE']} stops: it lost its connection to "
        "another process of this run, which ended or was killed; its own last message, or "
        "torchrun's, may say why (out of memory?). Start all processes again with --resume: a "
        "training goes on from its last checkpoint.\nWhat the connection said: "
        f"{reason.splitlines()[0]}"
    )
