"""A run folder: what was asked, where it ran, what came out; ``summary.json`` says finished."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import torch
from lightning_fabric import Fabric

from datasets.errors import DatasetError
from datasets.files import remove_unfinished, write_whole
from datasets.locks import LockedError, OwnedLock
from datasets.safe_json import read_json_object
from datasets.samples import Sample
from trainers.errors import RunError
from trainers.watch import Watch

CONFIG: Final = Path("config.json")
ENVIRONMENT: Final = Path("environment.json")
METRICS: Final = Path("metrics.csv")
PREDICTIONS: Final = Path("predictions.csv")
VAL_PREDICTIONS: Final = Path("val_predictions.csv")
SUMMARY: Final = Path("summary.json")
SEEN_IMAGES: Final = Path("seen_images.txt")
"""SHA-256 of the images trained and selected on, one a line: what must not be a later test."""
BEST_CHECKPOINT: Final = Path("checkpoints/best.ckpt")
LAST_CHECKPOINT: Final = Path("checkpoints/last.ckpt")
LOCK: Final = ".lock"

_PACKAGES: Final = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "scikit-learn")

log = logging.getLogger(__name__)


class Run:
    """A run folder, held by this process or group of processes while a ``with`` block lasts.

    Args:
        fabric: Launched; process 0 does all writing.
        run_dir: The folder.
        identity: What the result depends on; a resumed run must have the same.
        options: The command's options, for the record.
        resume: Go on from the last checkpoint, or return at once if finished.
        overwrite: Delete what is there and start again.

    Attributes:
        is_finished: There is nothing left to do.

    Raises:
        RunError: The folder holds a finished or unfinished run and neither `resume` nor
            `overwrite` is set; it is resumed with another identity; it is not writable; or another
            process holds it.
    """

    def __init__(
        self,
        fabric: Fabric,
        run_dir: Path,
        identity: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
    ) -> None:
        self.fabric = fabric
        self.run_dir = run_dir
        self._lock = OwnedLock(run_dir / LOCK, run_dir)
        self._held = ExitStack()
        problem: str | None = None
        if fabric.is_global_zero:
            try:
                self._open(dict(identity), dict(options), resume, overwrite)
            except RunError as error:
                problem = str(error)
                self._lock.release()
        problem = fabric.broadcast(problem)
        if problem is not None:
            raise RunError(problem)
        self.is_finished = bool(fabric.broadcast((run_dir / SUMMARY).is_file()))

    def __enter__(self) -> Self:
        """Look out for the other processes from now on."""
        self._held.callback(self._lock.release)
        self._held.enter_context(Watch(self.fabric.world_size))
        return self

    def __exit__(self, *error: Any) -> None:
        """Wait for the other processes of this run, and let others have the folder.

        Raises:
            RunError: Another process of this run failed or is gone.
        """
        self._held.__exit__(*error)

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint to resume from, if there is one."""
        path = self.run_dir / LAST_CHECKPOINT
        return path if path.is_file() else None

    def record_seen(self, samples: Iterable[Sample]) -> None:
        """Write down which images training and selection see; see `read_seen`."""
        if self.fabric.is_global_zero:
            with write_whole(self.run_dir / SEEN_IMAGES) as temporary:
                temporary.write_text("".join(f"{h}\n" for h in sorted({s.sha256 for s in samples})))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``, the last file of a run."""
        if self.fabric.is_global_zero:
            write_json(self.run_dir / SUMMARY, summary)
        self.fabric.barrier()

    def _open(
        self, identity: dict[str, Any], options: dict[str, Any], resume: bool, overwrite: bool
    ) -> None:
        content = json.loads(json.dumps({**identity, "options": options}, default=str))
        if resume and (self.run_dir / SUMMARY).is_file() and (self.run_dir / CONFIG).is_file():
            self._require_same(content)
            tidy_up(self.run_dir)
            return  # Finished: what it says of code and machine stays that of its making.
        try:
            (self.run_dir / BEST_CHECKPOINT.parent).mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            for folder in (self.run_dir, (self.run_dir / BEST_CHECKPOINT).parent):
                remove_unfinished(folder)
        except LockedError as error:
            raise RunError(
                f"Another process is working in this run folder: {error} Wait for it, end it, or "
                "pass another --runs-root or --seed."
            ) from error
        except OSError as error:
            raise RunError(
                f"Cannot write to {self.run_dir} ({error}). Mend the permissions or pass another "
                "--runs-root."
            ) from error
        try:
            if not (self.run_dir / CONFIG).is_file():
                # Without it, nobody can say whose checkpoints these are.
                self._clear(self.run_dir / BEST_CHECKPOINT.parent)
            elif overwrite:
                self._clear()
            elif not resume:
                self._refuse()
            else:
                self._require_same(content)
            write_json(self.run_dir / ENVIRONMENT, describe_environment(self.fabric))
            write_json(self.run_dir / CONFIG, content)
        except OSError as error:
            raise RunError(f"Cannot write to {self.run_dir} ({error}).") from error

    def _clear(self, *paths: Path) -> None:
        """Delete these, or all that an earlier run has left; make an empty checkpoint folder."""
        # A kill meanwhile must leave a run that is unfinished, and one that still has a config
        # must be the earlier one: what says finished and what is resumed from go first, the config
        # last.
        first, last = self.run_dir / SUMMARY, self.run_dir / CONFIG
        kept = (self._lock.path, self._lock.owner_path, last)
        found = paths or [path for path in self.run_dir.iterdir() if path not in kept]
        first.unlink(missing_ok=True)
        (self.run_dir / LAST_CHECKPOINT).unlink(missing_ok=True)
        checkpoints = self.run_dir / BEST_CHECKPOINT.parent
        for path in sorted(found, key=lambda path: path != checkpoints):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        last.unlink(missing_ok=True)
        checkpoints.mkdir()

    def _refuse(self) -> None:
        """Raise since the folder holds a run, and nothing says what is to become of it."""
        finished = (self.run_dir / SUMMARY).is_file()
        state = "a finished run" if finished else "an unfinished run"
        way = "show its result" if finished else "go on from its last checkpoint"
        raise RunError(
            f"{self.run_dir} holds {state}. Pass --resume to {way}, --overwrite to delete it "
            "and start again, or another --seed or --runs-root."
        )

    def _require_same(self, content: dict[str, Any]) -> None:
        """Raise unless the folder's run has these settings."""
        earlier = read_json(self.run_dir / CONFIG)
        earlier.pop("options", None)
        differences = _find_differences(
            earlier, {name: value for name, value in content.items() if name != "options"}
        )
        if differences:
            listed = "\n  ".join(differences)
            raise RunError(
                f"{self.run_dir} cannot be resumed with other settings:\n  {listed}\nPass the "
                "earlier settings, or --overwrite to start again, or another --runs-root."
            )


def _find_differences(there: Mapping[str, Any], now: Mapping[str, Any], of: str = "") -> list[str]:
    """Return what differs by dotted name, e.g. ``trainer.epochs: 2 there, 3 now``."""
    differences: list[str] = []
    for name in sorted({*there, *now}):
        old, new = there.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            differences += _find_differences(old, new, f"{of}{name}.")
        elif old != new:
            differences.append(f"{of}{name}: {old} there, {new} now")
    return differences


def remove_run(run_dir: Path) -> None:
    """Delete a run, so that nothing of it is taken for a later one's.

    Raises:
        RunError: Another process works in it, or it cannot be deleted.
    """
    if not run_dir.is_dir():
        return
    try:
        with OwnedLock(run_dir / LOCK, run_dir):
            (run_dir / SUMMARY).unlink(missing_ok=True)
            shutil.rmtree(run_dir)
    except (LockedError, OSError) as error:
        raise RunError(f"{run_dir} cannot be deleted: {error}") from error


def tidy_up(run_dir: Path) -> None:
    """Remove what a killed process has left half-written, unless another one works there."""
    with suppress(DatasetError, OSError), OwnedLock(run_dir / LOCK, run_dir):
        remove_unfinished(run_dir)


def stage_checkpoint(number: int) -> Path:
    """Return where the best model of an earlier stage lies, counted from 1."""
    return BEST_CHECKPOINT.with_name(f"stage-{number}.ckpt")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` whole or not at all; paths become strings, NaN is refused."""
    with write_whole(path) as temporary:
        text = json.dumps(content, indent=2, default=str, allow_nan=False)
        temporary.write_text(text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        RunError: The file is missing or no JSON object.
    """
    try:
        return read_json_object(path)
    except ValueError as error:
        raise RunError(str(error)) from error


def read_finished(run_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config and summary of a finished run.

    Raises:
        RunError: There is no finished run in `run_dir`.
    """
    if not (run_dir / SUMMARY).is_file():
        raise RunError(f"{run_dir} holds no finished run: there is no {SUMMARY}.")
    return read_json(run_dir / CONFIG), read_json(run_dir / SUMMARY)


def read_seen(run_dir: Path) -> frozenset[str]:
    """Return the SHA-256 of the images that a run was trained and selected on.

    Raises:
        RunError: The run is older than this record.
    """
    path = run_dir / SEEN_IMAGES
    if not path.is_file():
        raise RunError(
            f"{run_dir} does not say which images it learnt from: there is no {SEEN_IMAGES}. Train "
            "it again with --overwrite."
        )
    return frozenset(path.read_text().split())


def describe_environment(fabric: Fabric) -> dict[str, Any]:
    """Return git commit and state, versions, device; nothing that changes between reruns."""
    device = fabric.device
    return {
        **describe_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "processes": fabric.world_size,
    }


def describe_commit() -> dict[str, Any]:
    """Return the project's ``git_commit`` and ``git_dirty``; None outside a git checkout."""
    root = Path(__file__).resolve().parents[1]
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": dirty}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
