"""Killed at each call that brings a file or its name to the disk, work leaves nothing half."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.manifest import MANIFEST_INFO_NAME, MANIFEST_NAME
from experiments import prepare_wbc
from experiments.folds import pool_folds
from experiments.reporting.load_runs import FinishedRun
from tests.faults.corpus import WRITERS
from tests.faults.outcomes import content_of, left_behind, require_saved
from trainers.checkpoint import save_checkpoint
from trainers.run import CONFIG, LAST_CHECKPOINT

if sys.platform == "linux":
    from tests.faults.killing import run_to_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched in /proc")

CALLS = ("fsync", "replace", "rename", "unlink", "rmdir")
"""Of os; those of pathlib and shutil end in them."""
CLASSES = ("a", "b", "c")


def killed_folders(
    work: Callable[[], object], out: Path, start: Path, log_path: Path
) -> Iterator[str]:
    """Yield after each kill of `work`, which writes to `out`, until it ends by itself.

    Args:
        work: Run in a process of its own, and killed before its first call, its second, ...
        out: Is a copy of `start` before each.
        start: What lay in `out` before.
        log_path: What `work` prints.
    """
    for last in count(1):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(start, out)
        ending = run_to_end(lambda last=last: _count_down(work, last), log_path)
        if ending.code != -signal.SIGKILL:
            assert ending.code == 0, log_path.read_text()
            assert last > 5, "hardly a call was counted"
            return
        yield f"killed before call {last}"


def _count_down(work: Callable[[], object], last: int) -> None:
    """Do `work`, and die before call number `last`."""
    numbers = count(1)

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def die_or_call(*args: object, **kwargs: object) -> object:
            if next(numbers) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return die_or_call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    work()


def test_a_set_that_is_prepared_over_another_is_that_or_this_and_done_by_the_same_command(
    tmp_path,
):
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (tmp_path / "cells" / label).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "cells" / label / f"{index}.png")
    out, start, whole = tmp_path / "out", tmp_path / "start", tmp_path / "whole"

    def prepare(classes: tuple[str, ...], seed: int, folder: Path = out) -> None:
        prepare_wbc.main(
            prepare_wbc.Options(
                tmp_path / "cells", folder, classes=classes, ignore_classes=CLASSES[len(classes) :],
                seed=seed, find_copies=False, pack=True, image_size=(4,), overwrite=True,
            )
        )  # fmt: skip

    def pair(folder: Path) -> list[bytes]:
        return [(folder / name).read_bytes() for name in (MANIFEST_NAME, MANIFEST_INFO_NAME)]

    prepare(CLASSES[:2], 0, start)
    prepare(CLASSES, 1, whole)
    expected = content_of(whole)
    log_path = tmp_path / "log"
    for moment in killed_folders(lambda: prepare(CLASSES, 1), out, start, log_path):
        content_of(out)
        if (out / MANIFEST_NAME).exists():
            assert pair(out) in (pair(start), pair(whole)), f"a mix of two sets, {moment}"
        assert run_to_end(lambda: prepare(CLASSES, 1), log_path).code == 0, log_path.read_text()
        assert content_of(out) == expected, moment
        assert left_behind(out) == [], moment


def write_fold(folder: Path, number: int) -> FinishedRun:
    """Write what pooling reads of a finished fold, and return it."""
    folder.mkdir(parents=True)
    rows = [
        f"{number}/{i}.png,g{number}{i},{'ab'[i]},{0.75 - i / 2},{0.25 + i / 2}" for i in (0, 1)
    ]
    head = "sample_id,group,label,prob_a,prob_b"
    (folder / "predictions.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "metrics.csv").write_text("epoch,val/loss\n1,0.5\n")
    summary = {
        "data": {"name": "cells", "synthetic": True, "fingerprint": str(number)},
        "test": {"per_class": {"a": {}, "b": {}}},
        "best_epoch": 1, "steps": 2, "seconds": 3.0,
    }  # fmt: skip
    return FinishedRun(folder, {"options": {"fold": number}, "fold": number}, summary)


def test_pooled_folds_are_unfinished_or_whole_and_done_by_the_same_command(tmp_path):
    runs = [write_fold(tmp_path / f"fold-{number}", number) for number in range(3)]
    out, start, whole = tmp_path / "out", tmp_path / "start", tmp_path / "whole"
    pool_folds(runs[:2], start, "folds")
    pool_folds(runs, whole, "folds")
    earlier, expected = content_of(start), content_of(whole)
    assert json.loads((whole / "summary.json").read_text())["steps"] == 6
    log_path = tmp_path / "log"
    for moment in killed_folders(lambda: pool_folds(runs, out, "folds"), out, start, log_path):
        found = content_of(out)
        if "summary.json" in found:
            assert found in (earlier, expected), f"a mix of two runs, {moment}"
        pool_folds(runs, out, "folds")
        assert content_of(out) == expected, moment
        assert left_behind(out) == [], moment


@pytest.mark.parametrize(
    ("epochs", "log", "is_right"),
    [
        ([None], "Epoch 1 begins.", True),
        ([1], "Epoch 1 begins.\nEpoch 1/3: loss 0.5", True),
        ([1], "Epoch 2 begins.", True),
        ([None], "Epoch 2 begins.", False),
        ([1], "Epoch 1 begins.", False),
        ([1, None], "Epoch 1 begins.", True),
    ],
    ids=["first", "logged", "next", "lost", "too early", "of a second run"],
)
def test_the_soak_knows_which_epoch_must_be_saved(
    fabric, tmp_path: Path, epochs: list[int | None], log: str, is_right: bool
):
    for number, epoch in enumerate(epochs):
        run_dir = tmp_path / f"run-{number}"
        run_dir.mkdir()
        (run_dir / CONFIG).write_text("{}")
        if epoch is not None:
            save_checkpoint(fabric, run_dir / LAST_CHECKPOINT, {"epoch": epoch})
    with nullcontext() if is_right else pytest.raises(AssertionError, match="had begun"):
        require_saved(tmp_path, log)


@pytest.mark.parametrize("name", ["pack.h5", "store.h5", "tiles.h5", "last.ckpt"])
def test_files_that_are_cut_short_are_not_taken_for_whole(tmp_path: Path, name: str):
    """What these tests and the soak look at after a kill."""
    WRITERS[name](tmp_path / name)
    whole = content_of(tmp_path)
    assert whole == content_of(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) - 1 - len(content) // 50])
    with pytest.raises(Exception, match="."):
        content_of(tmp_path)
