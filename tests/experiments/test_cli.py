"""What a script says when its main fails."""

from __future__ import annotations

import os
import queue
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

import pytest
import torch
from torch.utils.data import DataLoader

from datasets.errors import UnreadableImageError
from experiments.cli import run_script


@dataclass(frozen=True)
class Options:
    """None."""


@pytest.fixture(autouse=True)
def _plain_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line hold no options, and errors be shown as users see them."""
    monkeypatch.setattr(sys, "argv", ["script"])
    monkeypatch.delenv("LEUKOFUSE_DEBUG", raising=False)


class Vanished:
    """An image that is not there."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise UnreadableImageError("data/a.png: cannot be read as an image (no such file).")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_in_a_loaders_process_is_said_without_its_traceback(caplog, num_workers):
    def main(options: Options) -> None:
        list(DataLoader(Vanished(), num_workers=num_workers))

    with pytest.raises(SystemExit) as stopped:
        run_script(main, Options, "about")
    assert stopped.value.code == 2
    assert caplog.messages == ["Error: data/a.png: cannot be read as an image (no such file)."]


def test_a_lost_process_is_explained_and_not_shown_as_a_traceback(monkeypatch, caplog):
    def main(options: Options) -> None:
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Read error")

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as stopped:
        run_script(main, Options, "about")
    assert stopped.value.code == 2
    [message] = caplog.messages
    assert "of 2 stops: it lost its connection to another process" in message


@pytest.mark.parametrize(("several", "said"), [("2", "lost its connection"), ("1", None)])
def test_torchruns_sigterm_does_not_cut_short_what_a_lost_process_says(
    monkeypatch, caplog, several, said
):
    """It comes while the error is on its way out: here while a queue is waited for."""

    def main(options: Options) -> None:
        try:
            raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
        finally:
            with suppress(queue.Empty):
                queue.Queue().get(timeout=0.01)
            os.kill(os.getpid(), signal.SIGTERM)

    def die(number: int, frame: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setenv("WORLD_SIZE", several)
    earlier = signal.signal(signal.SIGTERM, die)
    try:
        with pytest.raises(SystemExit if said else ZeroDivisionError) as stopped:
            run_script(main, Options, "about")
        assert signal.getsignal(signal.SIGTERM) == die
    finally:
        signal.signal(signal.SIGTERM, earlier)
    if said:
        assert stopped.value.code == 2
        assert said in caplog.messages[0]


def test_where_pytorch_cannot_allocate_it_is_said_and_other_errors_are_not_hidden(caplog):
    with pytest.raises(SystemExit, match="2"):
        run_script(lambda _: torch.empty(2**60), Options, "about")
    assert caplog.messages[0].startswith("Error: Memory ran out (")
    with pytest.raises(RuntimeError, match="shape"):
        run_script(lambda _: torch.zeros(2) + torch.zeros(3).view(2, 2), Options, "about")


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (MemoryError(), "Error: Memory ran out. Lower --batch-size"),
        (MemoryError("8 EiB"), "Error: Memory ran out (8 EiB). Lower --batch-size"),
        (torch.OutOfMemoryError("8 EiB"), "Error: Memory ran out (8 EiB). Lower --batch-size"),
    ],
)
def test_where_memory_ran_out_it_is_said_what_takes_less(caplog, error, start):
    def main(options: Options) -> None:
        raise error

    with pytest.raises(SystemExit, match="2"):
        run_script(main, Options, "about")
    assert caplog.messages[0].startswith(start)
