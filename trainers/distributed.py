"""What a process of several says when another one is gone."""

from __future__ import annotations

import os
import re
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
    except RuntimeError as error:
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        # By name: what needs no torch, as doctor.py, uses this too.
        is_told = any(kind.__name__ == "DistError" for kind in type(error).__mro__)
        if not several or not (is_told or _LOST.search(str(error))):
            raise
        raise RunError(describe_loss(str(error))) from error


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
