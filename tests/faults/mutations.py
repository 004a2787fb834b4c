"""Spoils files, and reads spoilt slides in a process of its own; imports little."""

from __future__ import annotations

import resource
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from datasets.errors import DatasetError
from datasets.wsi.slide import Slide

MAX_SLIDE_MEMORY = 2_000_000_000
"""Bytes of data of the process that reads slides."""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut the file off, or change one or several bytes, more of them near its beginning."""
    kind = rng.integers(4)
    if kind == 0:
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    for _ in range(1 if kind == 1 else int(rng.integers(2, 20))):
        reach = len(changed) if rng.random() < 0.6 else min(2048, len(changed))
        changed[rng.integers(reach)] = rng.integers(256)
    return bytes(changed)


def read_slide(path: Path) -> None:
    """Open a slide, read a region and the whole of it."""
    with Slide(path) as slide:
        slide.read(0, 0, 0, 64, 64)
        slide.read_whole(4, 10**6)


def read_mutated_slides(folder: Path, number: int, connection: Connection) -> None:
    """Read spoilt copies of ``slide.tif``; say after each how it went.

    It runs in a process of its own, which a decoder written in C may end.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_SLIDE_MEMORY, MAX_SLIDE_MEMORY))
    rng = np.random.default_rng(2)
    content = (folder / "slide.tif").read_bytes()
    for index in range(number):
        path = folder / f"{index}.tif"
        path.write_bytes(mutate(content, rng))
        try:
            read_slide(path)
            connection.send("read")
        except (DatasetError, MemoryError):
            connection.send("refused")
        path.unlink()
    connection.close()
