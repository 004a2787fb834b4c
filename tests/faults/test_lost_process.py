"""One of two processes is killed: the other says so and ends, and the run can be resumed."""

from __future__ import annotations

import json
import logging
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

from trainers import watch
from trainers.distributed import explain_lost_processes
from trainers.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
RUN = Path("base_wbc", "split-100", "seed-0")
FORK = multiprocessing.get_context("fork")
STARTED: list[subprocess.Popen] = []


def connect(rank: int, folder: Path, told) -> None:
    """Connect this process with the other one, and tell so."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank)}
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    told.send("connected")


def exchange(rank: int, folder: Path, told) -> None:
    """Add numbers up with the other process until it is gone; tell what is said then."""
    connect(rank, folder, told)
    try:
        with explain_lost_processes():
            while True:
                distributed.all_reduce(torch.ones(1))
    except RunError as error:
        told.send(str(error))


def fork_two(work, *arguments) -> tuple[list, list]:
    """Start `work` in two processes that are connected; return them and what they tell by."""
    pipes = [FORK.Pipe(duplex=False) for _ in range(2)]
    processes = [
        FORK.Process(target=work, args=(rank, *arguments, pipes[rank][1]), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    ears = [ours for ours, _ in pipes]
    assert [ear.recv() for ear in ears] == ["connected"] * 2
    return processes, ears


def test_a_process_whose_peer_is_killed_says_so_at_once(tmp_path: Path):
    processes, ears = fork_two(exchange, tmp_path)
    processes[1].kill()
    assert ears[0].poll(60), "the survivor says nothing for a minute"
    message = ears[0].recv()
    assert "Process 0 of 2 stops: it lost its connection to another process" in message
    assert "Start all processes again with --resume" in message
    for process in processes:
        process.join(10)
        assert not process.is_alive()


def work_alone(rank: int, folder: Path, seconds: dict[int, float], told) -> None:
    """Work without any exchange; a time below 0 stands for work that fails at once."""
    connect(rank, folder, told)
    with (folder / f"log-{rank}").open("w", buffering=1) as log:
        logging.basicConfig(stream=log, force=True)
        with watch.Watch(2):
            told.send("watched")
            if seconds[rank] < 0:
                raise SystemExit(3)
            time.sleep(seconds[rank])
        told.send("done")


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(watch, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(watch, "_GRACE_SECONDS", 0.5)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ({0: 600, 1: 600}, "What the connection said: .*(closed|reset)"),
        ({0: 600, 1: -1}, "What the connection said: it failed"),
    ],
    ids=["killed", "failed"],
)
def test_a_process_that_works_alone_ends_soon_after_its_peer(tmp_path: Path, seconds, said):
    processes, ears = fork_two(work_alone, tmp_path, seconds)
    assert [ear.recv() for ear in ears] == ["watched"] * 2
    if seconds[1] > 0:
        processes[1].kill()
    processes[0].join(30)
    assert processes[0].exitcode == 2
    log = (tmp_path / "log-0").read_text()
    assert "Process 0 of 2 stops: it lost its connection to another process" in log
    assert re.search(said, log), log
    processes[1].join(30)
    assert processes[1].exitcode == (3 if seconds[1] < 0 else -signal.SIGKILL)


@pytest.mark.usefixtures("_quick")
def test_a_process_that_is_done_waits_for_its_peer(tmp_path: Path):
    started = time.monotonic()
    processes, ears = fork_two(work_alone, tmp_path, {0: 0, 1: 2})
    assert [[ear.recv() for _ in range(2)] for ear in ears] == [["watched", "done"]] * 2
    assert time.monotonic() - started > 2
    for process in processes:
        process.join(30)
        assert process.exitcode == 0


@pytest.mark.usefixtures("_quick")
def test_a_process_that_is_done_says_so_if_its_peer_is_lost(tmp_path: Path):
    processes, ears = fork_two(work_alone, tmp_path, {0: 0, 1: 600})
    assert [ear.recv() for ear in ears] == ["watched"] * 2
    time.sleep(0.5)
    processes[1].kill()
    with pytest.raises(EOFError):
        ears[0].recv()  # And not that it is done.
    processes[0].join(30)
    assert processes[0].exitcode == 1  # By the error that the end of the block raises.


def test_other_errors_are_left_as_they_are(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="shapes differ"), explain_lost_processes():
        raise RuntimeError("shapes differ")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(RuntimeError, match=r"^Connection closed"), explain_lost_processes():
        raise RuntimeError("Connection closed by peer")


class DistError(RuntimeError):
    """Named as PyTorch names its own."""


class DistNetworkError(DistError):
    """As this one of PyTorch."""


def test_pytorchs_own_errors_are_explained_whatever_they_say(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(RunError, match=r"lost its connection(.|\n)*said: the peer is away"),
        explain_lost_processes(),
    ):
        raise DistNetworkError("the peer is away")


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


SLOW_ENCODERS = """
import sys, time
from models.frozen import FrozenEncoder
from experiments import fused_wbc
from experiments.cli import run_script
encode = FrozenEncoder.forward
def encode_slowly(self, images):
    time.sleep(10)
    return encode(self, images)
FrozenEncoder.forward = encode_slowly
run_script(fused_wbc.main, fused_wbc.Options, "")
"""
FUSED_RUN = Path("fused_wbc", "split-100", "seed-0")


def fused_arguments(tiny_bundle: Path, encoder_runs: tuple[Path, Path], folder: Path) -> list[str]:
    prcc_run, cam16_run = encoder_runs
    return [
        "--data-root", str(tiny_bundle), "--runs-root", str(folder / "runs"),
        "--cache-root", str(folder / "cache"), "--prcc-run", str(prcc_run),
        "--cam16-run", str(cam16_run), "--device", "cpu", "--precision", "32-true",
        "--epochs", "1", "--batch-size", "4", "--max-train-images", "8", "--num-workers", "1",
        "--resume",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted_fused(
    tiny_bundle: Path, encoder_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("two-fused")
    command = [
        str(ROOT / "experiments/fused_wbc.py"),
        *fused_arguments(tiny_bundle, encoder_runs, folder),
    ]
    assert end_all(start("by hand", command, folder), 600) == [0, 0], (folder / "log-0").read_text()
    return folder / "runs" / FUSED_RUN


@pytest.mark.slow
@pytest.mark.parametrize("is_extracting", [True, False])
def test_a_process_that_is_killed_while_features_are_extracted_is_missed_within_a_minute(
    tiny_bundle: Path,
    encoder_runs: tuple[Path, Path],
    uninterrupted_fused: Path,
    tmp_path: Path,
    is_extracting: bool,
):
    arguments = fused_arguments(tiny_bundle, encoder_runs, tmp_path)
    slow = start("by hand", ["-c", SLOW_ENCODERS, *arguments], tmp_path)
    deadline = time.monotonic() + 120
    while not (owners := list((tmp_path / "cache").rglob("*.lock.owner"))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    extracting = json.loads(owners[0].read_text())["pid"]
    victim = next(p for p in slow if (p.pid == extracting) == is_extracting)
    survivor = next(p for p in slow if p is not victim)
    time.sleep(2)  # Into the first batch.
    victim.kill()
    assert survivor.wait(60) == 2
    log = (tmp_path / f"log-{slow.index(survivor)}").read_text()
    assert f"Process {slow.index(survivor)} of 2 stops: it lost its connection" in log
    assert not list((tmp_path / "cache" / "features").glob("*.h5"))

    command = [str(ROOT / "experiments/fused_wbc.py"), *arguments]
    assert end_all(start("by hand", command, tmp_path), 600) == [0, 0]
    require_same(tmp_path / "runs" / FUSED_RUN, uninterrupted_fused)


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
    require_same(runs_root / RUN, uninterrupted)


def require_same(run: Path, uninterrupted: Path) -> None:
    for name in ("metrics.csv", "predictions.csv"):
        assert (run / name).read_bytes() == (uninterrupted / name).read_bytes(), name
