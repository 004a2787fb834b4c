"""Files of tensors that were damaged on the way, or made to do damage."""

from __future__ import annotations

import os
import random
import signal
import zipfile
from pathlib import Path

import pytest
import torch

from models.backbones import read_state
from models.errors import WeightsError
from models.state_files import StateFileError, load_state
from trainers.checkpoint import read_checkpoint
from trainers.errors import CheckpointError

STATE = {f"w{i}": torch.arange(200.0).sqrt() + i for i in range(4)}
MILLION = 1_000_000


def test_one_exchanged_bit_changes_no_tensor_unnoticed(tmp_path: Path):
    path = tmp_path / "best.ckpt"
    torch.save({"model": STATE, "epoch": 3}, path)
    content = bytearray(path.read_bytes())
    rng = random.Random(0)
    refused = 0
    for _ in range(60):
        place, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        content[place] ^= bit
        path.write_bytes(content)
        content[place] ^= bit
        try:
            found = read_checkpoint(path)
        except CheckpointError:
            refused += 1
            continue
        assert found["epoch"] == 3
        assert found["model"].keys() == STATE.keys()
        assert all(torch.equal(found["model"][name], STATE[name]) for name in STATE)
    assert refused > 30


def test_a_damaged_file_says_what_to_do(tmp_path: Path):
    path = tmp_path / "w.pth"
    torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    content[content.find(STATE["w2"].numpy().tobytes()) + 3] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth.*checksum of 'w/data/2' in it is wrong"):
        read_state(path)
    with pytest.raises(CheckpointError, match=r"checksum.*Copy it again.*--overwrite"):
        read_checkpoint(path)


def test_tensors_that_are_large_only_unpacked_are_refused_before_they_are(
    tmp_path: Path, monkeypatch
):
    torch.save({"w": torch.zeros(MILLION)}, tmp_path / "plain.pth")
    path = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert path.stat().st_size < MILLION / 10
    torch.load(path, weights_only=True)  # PyTorch unpacks it.
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(StateFileError, match="is compressed"):
        load_state(path)


@pytest.fixture
def alarm():
    """Ends a wait without end after five seconds with an error."""

    def ring(*_):
        raise TimeoutError("still waiting")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "best.ckpt")
    with pytest.raises(StateFileError, match="no regular file"):
        load_state(tmp_path / "best.ckpt")


def test_weights_of_the_older_format_are_still_read(tmp_path: Path):
    torch.save(STATE, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_state(tmp_path / "w.pth")["w1"], STATE["w1"])
