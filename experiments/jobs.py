"""Jobs of a grid of runs, what becomes of them, and the options of what carries them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from trainers.run import SUMMARY

ExecutorName = Literal["serial", "local", "slurm"]
DEFAULT_MINUTES: Final = 240


@dataclass(frozen=True)
class Job:
    """One run of a grid.

    Attributes:
        name: Shown to the user; unique in the grid.
        run_dir: Of the run; unique in the grid.
        function: Does the run, or goes on with it where it was stopped. Picklable, with paths that
            hold in the current folder: in practice a `functools.partial` of a script's ``main``
            and of options with ``resume=True``.
    """

    name: str
    run_dir: Path
    function: Callable[[], object]

    @property
    def is_finished(self) -> bool:
        """Whether the run has its ``summary.json``."""
        return (self.run_dir / SUMMARY).is_file()


@dataclass(frozen=True)
class JobResult:
    """What became of a job.

    Attributes:
        name: Of the job.
        run_dir: Of the job.
        status: ``earlier``: the run was finished before, and not run again.
        reason: Of a failure.
        log_path: Of a failure: traceback, or everything that the job printed.
    """

    name: str
    run_dir: Path
    status: Literal["finished", "failed", "earlier"]
    reason: str | None = None
    log_path: Path | None = None


@dataclass(frozen=True)
class ExecutorOptions:
    """Where the runs of a grid are carried out, each as a job of one process."""

    executor: ExecutorName = "serial"
    """serial: one by one, here. local: processes on this machine. slurm: jobs of a cluster."""
    gpus: Literal[0, 1] = 0
    """local, slurm: GPUs a job. serial takes what --device says."""
    cpus: int | None = None
    """Threads a job computes with; slurm: also the cores it asks for. Default: PyTorch's choice,
    one core."""
    memory_gb: float | None = None
    """slurm: memory of a job. Default: the partition's."""
    minutes: int | None = None
    """slurm: time limit of a job; where it is reached, the run goes on in another. Default: 240."""
    partition: str | None = None
    """slurm: partition. Default: the cluster's."""
    max_parallel: int | None = None
    """local, slurm: jobs at a time. Default: 1 for local, no limit for slurm."""
    log_dir: Path | None = None
    """What jobs print and how they failed; slurm: on a disk that all nodes share. Default: jobs
    below --runs-root."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, and those that the executor would not heed.

        Raises:
            ValueError: Naming the flag.
        """
        for flag, value in (
            ("--cpus", self.cpus),
            ("--memory-gb", self.memory_gb),
            ("--minutes", self.minutes),
            ("--max-parallel", self.max_parallel),
        ):
            if value is not None and value <= 0:
                raise ValueError(f"{flag} must be above 0, not {value}.")
        given: dict[str, tuple[bool, tuple[ExecutorName, ...]]] = {
            "--gpus": (self.gpus > 0, ("local", "slurm")),
            "--memory-gb": (self.memory_gb is not None, ("slurm",)),
            "--minutes": (self.minutes is not None, ("slurm",)),
            "--partition": (self.partition is not None, ("slurm",)),
            "--max-parallel": (self.max_parallel is not None, ("local", "slurm")),
        }
        for flag, (is_given, heeded_by) in given.items():
            if is_given and self.executor not in heeded_by:
                raise ValueError(
                    f"{flag} does nothing with --executor {self.executor}: leave it out, or pass "
                    f"--executor {' or '.join(heeded_by)}."
                )

    def find_log_dir(self) -> Path:
        """Return where what jobs print goes."""
        return self.log_dir or Path("runs/jobs")
