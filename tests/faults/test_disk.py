"""Disks that are full or may not be written, images that vanish while they are trained on."""

from __future__ import annotations

import copy
import errno
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import files
from datasets.errors import DatasetError, UnreadableImageError
from datasets.feature_writing import write_store
from datasets.features import FeatureSpec, FeatureStore
from datasets.files import write_whole
from datasets.images import ImageDataset
from datasets.locks import OwnedLock
from datasets.samples import hash_file
from trainers.checkpoint import read_checkpoint, save_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.errors import CheckpointError, RunError
from trainers.hooks import Hook, default_hooks
from trainers.run import Run

DISK_BYTES = 2**21
SPEC = FeatureSpec("toy", "abc", "RGB 8x8", "32-true", (4096,))
KEYS = [f"{index:064x}" for index in range(40)]


@pytest.fixture
def disk(tmp_path: Path):
    """A disk of 2 MB, where this process may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root and a system that lets it")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Leave no space on `disk`; return the file to delete."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    assert not shutil.disk_usage(disk).free
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_leaves_the_earlier_checkpoint_and_says_so(fabric, disk: Path):
    path = disk / "last.ckpt"
    save_checkpoint(fabric, path, {"epoch": 1})
    fill(disk)
    with pytest.raises(CheckpointError, match=r"No space left.*earlier checkpoint.*--resume"):
        save_checkpoint(fabric, path, {"epoch": 2, "weights": bytes(100_000)})
    assert read_checkpoint(path) == {"epoch": 1}
    assert names_in(disk) == ["filler", "last.ckpt"]


def test_a_checkpoint_does_not_need_the_systems_temporary_folder(fabric, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    save_checkpoint(fabric, tmp_path / "last.ckpt", {"epoch": 1})
    assert read_checkpoint(tmp_path / "last.ckpt") == {"epoch": 1}


def test_a_store_on_a_full_disk_keeps_what_it_has_and_goes_on(disk: Path):
    values = np.arange(len(KEYS) * 4096, dtype=np.float32).reshape(len(KEYS), -1) % 1000
    made: list[int] = []
    fillers: list[Path] = []

    def encode(batches):
        for batch in batches:
            if batch.start == 20 and not fillers:
                fillers.append(fill(disk))
            made.extend(batch)
            yield values[batch.start : batch.stop]

    path = disk / "store.h5"
    with pytest.raises(OSError, match=r"No space left.*same command again.*are kept"):
        write_store(path, SPEC, KEYS, 4, encode)
    assert not path.exists()
    fillers[0].unlink()
    write_store(path, SPEC, KEYS, 4, encode)
    assert made == [*range(24), *range(20, 40)]
    store = FeatureStore(path, SPEC.key(KEYS))
    assert np.array_equal(store.read(KEYS[30]).numpy(), values[30].astype(np.float16))


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_no_space_is_said_whatever_call_finds_it(tmp_path, monkeypatch, call):
    (tmp_path / "metrics.csv").write_text("earlier")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(files.os, "fsync", full)
    with (
        pytest.raises(OSError, match="free some and resume"),
        write_whole(tmp_path / "metrics.csv") as temporary,
    ):
        temporary.write_text("half") if call == "fsync" else full()
    assert (tmp_path / "metrics.csv").read_text() == "earlier"
    assert names_in(tmp_path) == ["metrics.csv"]


class Once(Hook):
    """Does something after one step."""

    def __init__(self, step: int, act) -> None:
        self.step = step
        self.act = act

    def after_step(self, trainer):
        if trainer.global_step == self.step:
            self.act()


def make_trainer(fabric, model, data, config, run_dir: Path, *hooks: Hook) -> ClassifierTrainer:
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    hooks = (*default_hooks(run_dir, "toy"), *hooks)
    return ClassifierTrainer(fabric, model, data, data, config, hooks)


def resume(trainer: ClassifierTrainer, run_dir: Path) -> None:
    path = run_dir / "checkpoints" / "last.ckpt"
    trainer.load_state_dict(read_checkpoint(path), path)
    trainer.fit()


def test_a_training_on_a_disk_that_fills_ends_and_resumes_as_if_nothing_had_been(
    fabric, toy_model, toy_data, toy_config, tmp_path, disk
):
    models = [copy.deepcopy(toy_model) for _ in range(3)]
    make_trainer(fabric, models[0], toy_data, toy_config, tmp_path / "whole").fit()
    hook = Once(6, lambda: fill(disk))
    trainer = make_trainer(fabric, models[1], toy_data, toy_config, disk / "run", hook)
    with pytest.raises((OSError, CheckpointError), match="No space left"):
        trainer.fit()
    (disk / "filler").unlink()
    again = Once(0, lambda: None)
    resume(make_trainer(fabric, models[2], toy_data, toy_config, disk / "run", again), disk / "run")
    require_same_run(disk / "run", tmp_path / "whole")


def require_same_run(run_dir: Path, whole: Path) -> None:
    """Require the same metrics and the same best model, bit by bit."""
    assert (run_dir / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    best = [read_checkpoint(path / "checkpoints" / "best.ckpt") for path in (run_dir, whole)]
    models = [state.pop("model") for state in best]
    assert best[0] == best[1]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"])
def test_a_training_whose_file_finds_no_space_resumes_as_if_nothing_had_been(
    fabric, toy_model, toy_data, toy_config, tmp_path, name
):
    """With the system's own error, and without a disk of its own."""
    models = [copy.deepcopy(toy_model) for _ in range(3)]
    make_trainer(fabric, models[0], toy_data, toy_config, tmp_path / "whole").fit()
    run_dir = tmp_path / "run"
    path = run_dir / name
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    hook = Once(6, lambda: temporary.symlink_to("/dev/full"))
    with pytest.raises((OSError, CheckpointError), match="No space left"):
        make_trainer(fabric, models[1], toy_data, toy_config, run_dir, hook).fit()
    assert not list(run_dir.rglob("*.tmp"))
    assert read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["epoch"] == 1
    again = Once(0, lambda: None)
    resume(make_trainer(fabric, models[2], toy_data, toy_config, run_dir, again), run_dir)
    require_same_run(run_dir, tmp_path / "whole")


def test_a_store_whose_disk_fills_at_the_end_keeps_all_rows(tmp_path, monkeypatch):
    values = np.arange(len(KEYS) * 4096, dtype=np.float32).reshape(len(KEYS), -1) % 1000
    made: list[int] = []

    def encode(batches):
        for batch in batches:
            made.extend(batch)
            yield values[batch.start : batch.stop]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def encode_and_fill(batches):
        yield from encode(batches)
        monkeypatch.setattr(files.os, "fsync", full)  # Where a file is given its blocks late.

    path = tmp_path / "store.h5"
    with pytest.raises(OSError, match=r"No space left.*same command again.*are kept"):
        write_store(path, SPEC, KEYS, 4, encode_and_fill)
    monkeypatch.undo()
    assert not path.exists()
    write_store(path, SPEC, KEYS, 4, encode)
    assert made == [*range(40)]
    store = FeatureStore(path, SPEC.key(KEYS))
    assert np.array_equal(store.read(KEYS[30]).numpy(), values[30].astype(np.float16))


def test_an_image_that_vanishes_in_an_epoch_is_named_and_the_run_resumes_when_it_is_back(
    fabric, toy_model, toy_data, toy_config, tmp_path
):
    samples = []
    for index, pixels in enumerate(toy_data.images):
        path = tmp_path / f"{index}.png"
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
        samples.append(replace(toy_data.samples[index], path=path, sha256=hash_file(path)))
    data = ImageDataset(samples, toy_data.classes, 8)
    models = [copy.deepcopy(toy_model) for _ in range(3)]
    make_trainer(fabric, models[0], data, toy_config, tmp_path / "whole").fit()
    hidden, run_dir = tmp_path / "hidden", tmp_path / "run"
    hook = Once(6, lambda: samples[5].path.rename(hidden))
    with pytest.raises(UnreadableImageError, match=r"5\.png: cannot be read.*no such file"):
        make_trainer(fabric, models[1], data, toy_config, run_dir, hook).fit()
    hidden.rename(samples[5].path)
    again = Once(0, lambda: None)
    resume(make_trainer(fabric, models[2], data, toy_config, run_dir, again), run_dir)
    require_same_run(run_dir, tmp_path / "whole")


def test_a_disk_that_may_not_be_written_is_named_with_the_flag(fabric, disk: Path):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(RunError, match=r"Cannot write to .*disk.*[Rr]ead-only.*--runs-root"):
        Run(fabric, disk / "run", {}, {}, resume=False, overwrite=False)
    with pytest.raises(DatasetError, match=r"Cannot write to .*[Rr]ead-only.*--cache-root"):
        OwnedLock(disk / "lock", "store").__enter__()


def test_a_second_run_in_a_folder_is_told_who_works_there(fabric, tmp_path):
    with (
        Run(fabric, tmp_path, {}, {}, resume=False, overwrite=False),
        pytest.raises(RunError, match=rf"is held by process {os.getpid()} on \S+ \(.*Wait for it"),
    ):
        Run(fabric, tmp_path, {}, {}, resume=True, overwrite=False)
