"""A real Slurm of one node on this machine, for tests: up in seconds, gone afterwards.

    python tests/slurm/single_node.py --folder /tmp/slurm [--install]

Starts munged, slurmctld and slurmd on free ports with all their files in the folder, waits until
``sinfo`` says idle, prints how to use it and stays until Ctrl-C or SIGTERM. It needs neither
cgroups nor systemd nor a container, and leaves an installed Slurm's configuration alone. Root is
needed for ``--install`` only (Debian, Ubuntu).
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
NODE = "node0"
START_SECONDS = 60
FIRST_WITHOUT_CGROUPS = (23, 2)

SLURM_CONF = """\
ClusterName=leukofuse
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
KillWait=30
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb}
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if _find(name) is None]


def install() -> None:
    """Install Debian's packages; no service is started or left enabled by this script."""
    subprocess.run(["apt-get", "update"], check=True)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


@contextmanager
def running_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run Slurm while the block lasts; yield the environment in which its commands find it.

    Raises:
        RuntimeError: It does not come up; the message holds the ends of the daemons' logs.
    """
    folder = folder.resolve()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munged refuses a socket that others cannot reach.
    _write_configuration(folder)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in _commands(folder):
            with (folder / f"{Path(command[0]).name}.out").open("wb") as output:
                daemons.append(
                    subprocess.Popen(command, env=environment, stdout=output, stderr=output)
                )
            if len(daemons) == 1:
                _wait_for_socket(folder, daemons[0])
        _wait_until_idle(folder, environment, daemons)
        yield environment
    finally:
        _stop(daemons, environment)


def _write_configuration(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    text = SLURM_CONF.format(
        folder=folder,
        host=socket.gethostname().split(".")[0],
        user=getpass.getuser(),
        controller_port=_free_port(),
        node_port=_free_port(),
        node=NODE,
        cpus=len(os.sched_getaffinity(0)),
        memory_mb=page * pages // 2**20 // 2,
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={_cgroup_plugin()}\n")


def _cgroup_plugin() -> str:
    """Return a plugin that leaves cgroups alone: `disabled`, or what does nothing unless asked."""
    answer = subprocess.run(
        [_program("slurmd"), "-V"], capture_output=True, text=True, check=True
    ).stdout
    version = tuple(int(part) for part in answer.split()[-1].split(".")[:2])
    return "disabled" if version >= FIRST_WITHOUT_CGROUPS else "cgroup/v1"


def _commands(folder: Path) -> Iterator[list[str]]:
    """Yield the daemons' commands, in the order in which they need each other."""
    files = {"key": "key", "log": "log", "pid": "pid", "seed": "seed"}
    options = [f"--{name}-file={folder}/munge.{end}" for name, end in files.items()]
    yield [
        _program("munged"),
        "--foreground",
        "--force",
        f"--socket={folder}/munge.socket",
        *options,
    ]
    yield [_program("slurmctld"), "-D", "-i", "-f", f"{folder}/slurm.conf"]
    yield [_program("slurmd"), "-D", "-N", NODE, "-f", f"{folder}/slurm.conf"]


def _wait_for_socket(folder: Path, munged: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (folder / "munge.socket").exists():
        if munged.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"munged does not come up.\n{_log_ends(folder)}")
        time.sleep(0.05)


def _wait_until_idle(
    folder: Path, environment: dict[str, str], daemons: list[subprocess.Popen[bytes]]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    command = [_program("sinfo"), "--noheader", "--format=%T"]
    while True:
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if answer.stdout.strip() == "idle":
            return
        dead = [d.args for d in daemons if d.poll() is not None]
        if dead or time.monotonic() > deadline:
            said = answer.stdout.strip() or answer.stderr.strip()
            raise RuntimeError(
                f"Slurm does not come up: sinfo says {said!r}, ended: {dead}.\n{_log_ends(folder)}"
            )
        time.sleep(0.2)


def _stop(daemons: list[subprocess.Popen[bytes]], environment: dict[str, str]) -> None:
    """Cancel what is left, then end the daemons in the reverse order."""
    if len(daemons) == len(list(_commands(Path()))):
        user = getpass.getuser()
        subprocess.run(
            [_program("scancel"), "--user", user, "--signal=KILL"],
            env=environment, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _log_ends(folder: Path) -> str:
    logs = sorted([*folder.glob("*.log"), *folder.glob("*.out")])
    return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in logs)


def _program(name: str) -> str:
    found = _find(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; Debian: apt-get install {' '.join(PACKAGES)}")
    return found


def _find(name: str) -> str | None:
    """Find a program; daemons lie in sbin, which not every user has on the path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _exit(number: int, frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of configuration, state, logs")
    parser.add_argument("--install", action="store_true", help="install Debian's packages first")
    asked = parser.parse_args()
    if asked.install:
        install()
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, _exit)
    begun = time.monotonic()
    with running_slurm(asked.folder) as slurm:
        print(f"Slurm is up after {time.monotonic() - begun:.1f} s. In another shell:", flush=True)  # noqa: T201
        print(f"export SLURM_CONF={slurm['SLURM_CONF']}", flush=True)  # noqa: T201
        while True:
            signal.pause()
