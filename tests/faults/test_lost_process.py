"""One of two processes is killed: the other says so and ends, and the run can be resumed."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import distributed

from trainers.distributed import explain_lost_processes
from trainers.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
RUN = Path("base_wbc", "split-100", "seed-0")
FORK = multiprocessing.get_context("fork")
STARTED: list[subprocess.Popen] = []


def exchange(rank: int, folder: Path, told) -> None:
    """Add numbers up with the other process until it is gone; tell what is said then."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank)}
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    told.send("connected")
    try:
        with explain_lost_processes():
            while True:
                distributed.all_reduce(torch.ones(1))
    except RunError as error:
        told.send(str(error))


def test_a_process_whose_peer_is_killed_says_so_at_once(tmp_path: Path):
    pipes = [FORK.Pipe(duplex=False) for _ in range(2)]
    processes = [
        FORK.Process(target=exchange, args=(rank, tmp_path, pipes[rank][1])) for rank in range(2)
    ]
    for process in processes:
        process.start()
    assert [ours.recv() for ours, _ in pipes] == ["connected"] * 2
    processes[1].kill()
    assert pipes[0][0].poll(60), "the survivor says nothing for a minute"
    message = pipes[0][0].recv()
    assert "Process 0 of 2 stops: it lost its connection to another process" in message
    assert "Start all processes again with --resume" in message
    for process in processes:
        process.join(10)
        assert not process.is_alive()


def test_other_errors_are_left_as_they_are(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="shapes differ"), explain_lost_processes():
        raise RuntimeError("shapes differ")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(RuntimeError, match=r"^Connection closed"), explain_lost_processes():
        raise RuntimeError("Connection closed by peer")


def arguments(tiny_bundle: Path, runs_root: Path) -> list[str]:
    return [
        str(ROOT / "experiments/base_wbc.py"), "--data-root", str(tiny_bundle),
        "--runs-root", str(runs_root), "--device", "cpu", "--precision", "32-true",
        "--epochs", "4", "--batch-size", "2", "--max-train-images", "12", "--resume",
    ]  # fmt: skip


def start(launcher: str, command: list[str], folder: Path) -> list[subprocess.Popen]:
    """Start two processes, by torchrun (then the one returned is torchrun) or by hand."""
    processes = launch(launcher, command, folder)
    STARTED.extend(processes)
    return processes


def launch(launcher: str, command: list[str], folder: Path) -> list[subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if launcher == "torchrun":
        torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
        with (folder / "log").open("w") as log:
            return [
                subprocess.Popen(
                    [sys.executable, *torchrun, *command], cwd=ROOT, env=environment, stderr=log
                )
            ]
    started = []
    for rank in range(2):
        own = {
            "LOCAL_RANK": str(rank), "RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port,
        }  # fmt: skip
        with (folder / f"log-{rank}").open("w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, *command], cwd=ROOT, env={**environment, **own}, stderr=log
                )
            )
    return started


@pytest.fixture(autouse=True)
def _nothing_left_running():
    """End what a failed test has left."""
    yield
    for process in STARTED:
        process.kill()
    STARTED.clear()


def pid_of_rank(parent: int, rank: int) -> int:
    """Return the process of a rank among torchrun's children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for pid in children:
        if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text():
            return int(pid)
    raise AssertionError(f"no rank {rank} among {children}")


def end_all(processes: list[subprocess.Popen], seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]


@pytest.fixture(scope="module")
def uninterrupted(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    processes = start("by hand", arguments(tiny_bundle, folder), folder)
    assert end_all(processes, 600) == [0, 0], (folder / "log-0").read_text()
    return folder / RUN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "killed"), [("torchrun", 1), ("torchrun", 0), ("by hand", 1), ("by hand", 0)]
)
def test_when_one_of_two_is_killed_the_other_says_so_within_a_minute_and_both_resume(
    tiny_bundle: Path, uninterrupted: Path, tmp_path: Path, launcher: str, killed: int
):
    command = arguments(tiny_bundle, tmp_path)
    processes = start(launcher, command, tmp_path)
    wait_for_checkpoint(tmp_path, processes)
    by_torchrun = launcher == "torchrun"
    victim = pid_of_rank(processes[0].pid, killed) if by_torchrun else processes[killed].pid
    log = tmp_path / ("log" if by_torchrun else f"log-{1 - killed}")
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while f"Process {1 - killed} of 2 stops: it lost its connection" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    codes = end_all(processes, 60)  # torchrun alone gives a process 30 seconds to end.
    assert codes == [1] if by_torchrun else sorted(codes) == [-9, 2], codes
    assert not (tmp_path / RUN / "summary.json").exists()

    require_resumed(start(launcher, command, tmp_path), tmp_path, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1])
def test_when_one_of_two_is_asked_to_stop_both_do_after_the_same_step_and_resume(
    tiny_bundle: Path, uninterrupted: Path, tmp_path: Path, asked: int
):
    command = arguments(tiny_bundle, tmp_path)
    processes = start("by hand", command, tmp_path)
    wait_for_checkpoint(tmp_path, processes)
    processes[asked].send_signal(signal.SIGTERM)
    assert end_all(processes, 60) == [130, 130]
    logs = [(tmp_path / f"log-{rank}").read_text() for rank in range(2)]
    stops = {re.search(r"Stopped in epoch \d+ after step \d+", log)[0] for log in logs}
    assert len(stops) == 1, stops
    require_resumed(start("by hand", command, tmp_path), tmp_path, uninterrupted)


def wait_for_checkpoint(runs_root: Path, processes: list[subprocess.Popen]) -> None:
    """Return once the first epoch's state is there, which is three epochs before the end."""
    last = runs_root / RUN / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 600
    while not last.exists():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def require_resumed(
    processes: list[subprocess.Popen], runs_root: Path, uninterrupted: Path
) -> None:
    """Require that the run ends with the files of the uninterrupted one."""
    assert set(end_all(processes, 600)) == {0}
    for name in ("metrics.csv", "predictions.csv"):
        assert (runs_root / RUN / name).read_bytes() == (uninterrupted / name).read_bytes(), name
