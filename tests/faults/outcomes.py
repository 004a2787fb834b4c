"""What lies in a folder: whether it is whole, what of it is finished, what it says."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from PIL import Image

from datasets.feature_writing import find_missing
from datasets.features import FeatureStore, read_index, unfinished_path
from datasets.packing import ImagePack
from datasets.safe_hdf5 import read_texts
from datasets.wsi.store import read_table
from trainers.checkpoint import read_checkpoint
from trainers.run import CONFIG, LAST_CHECKPOINT, read_json

BATCH_SIZE = 16
"""Of `ensure_features`."""
_DIFFERS = {
    "seconds", "images_per_second", "peak_memory_mb", "train_seconds", "git_commit", "git_dirty",
}  # fmt: skip
"""In a summary, checkpoint or record of the environment: what is measured and not computed."""
_EPOCH = re.compile(r" (\d+)/\d+: loss ")
_BEGINNING = re.compile(r"Epoch (\d+) begins\.")
"""Of `scenarios.TellingHook`."""
_EXTRACTION = re.compile(r"Extracting (\S+) features of (\d+) images")


def content_of(folder: Path) -> dict[str, Any]:
    """Read every file that has its own name, and so claims to be whole; return what it says.

    Event files, which grow, and logs and locks are left out.

    Raises:
        Exception: A file is not whole.
    """
    return {
        str(path.relative_to(folder)): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and _READERS.get(path.suffix)
    }


def left_behind(folder: Path) -> list[str]:
    """Return the temporary, unfinished and owners' files in `folder`."""
    suffixes = {".tmp", ".partial", ".owner", ".unfinished"}
    return [str(path) for path in folder.rglob("*") if path.suffix in suffixes]


@dataclass(frozen=True)
class Progress:
    """What must not be done again.

    Attributes:
        finished: Inode of each finished store, slide, summary and last checkpoint, by path.
        epoch: Of the last checkpoint, where just one run is in training.
        missing: Images without stored features, by encoder, where an extraction has begun.
    """

    finished: dict[Path, int]
    epoch: int
    missing: dict[str, int]

    def __str__(self) -> str:
        parts = [f"{len(self.finished)} finished files", f"epoch {self.epoch}"]
        parts += [f"{name} lacks {number}" for name, number in self.missing.items()]
        return ", ".join(parts)


def progress_of(folder: Path) -> Progress:
    """Return how far the work in `folder` is."""
    finished = [*folder.rglob("summary.json"), *folder.rglob("*.h5")]
    epochs = []
    for path in folder.rglob(LAST_CHECKPOINT.name):
        run_dir, epoch = path.parents[1], int(read_checkpoint(path)["epoch"])
        if epoch == read_json(run_dir / CONFIG)["trainer"]["epochs"]:
            finished.append(path)  # Only the test is left; what is trained next is another run.
        elif not (run_dir / "summary.json").exists():
            epochs.append(epoch)
    return Progress(
        {path: path.stat().st_ino for path in finished if not path.name.startswith(".")},
        epochs[0] if len(epochs) == 1 else 0,
        dict(_count_missing(path) for path in folder.rglob(".*.partial")),
    )


def require_not_repeated(before: Progress, log: str) -> None:
    """Raise where an attempt did again what was finished when it began.

    Raises:
        AssertionError: Saying what.
    """
    for path, inode in before.finished.items():
        assert path.stat().st_ino == inode, f"{path} was made again"
    epochs = [int(number) for number in _EPOCH.findall(log)]
    assert not before.epoch or not epochs or min(epochs) == before.epoch + 1, (
        f"epochs {epochs} after epoch {before.epoch} was saved"
    )
    for name, number in _EXTRACTION.findall(log):
        expected = before.missing.get(name)
        assert expected in (None, int(number)), (
            f"{number} features of {name} were made, {expected} were missing"
        )


def require_saved(folder: Path, log: str) -> None:
    """Raise where a killed attempt's last checkpoint is not that of the last epoch it ended.

    An epoch is logged, then its checkpoint is written, then the next one begins. So the checkpoint
    is that of the epoch before the last that began, or, where that one was logged, of itself.

    Raises:
        AssertionError: Saying which epoch it is of.
    """
    begun = [int(number) for number in _BEGINNING.findall(log)]
    run_dirs = [path.parent for path in folder.rglob(CONFIG.name)]
    if not begun or len(run_dirs) > 1:  # Nothing was trained, or several runs were.
        return
    checkpoint = run_dirs[0] / LAST_CHECKPOINT
    epoch = int(read_checkpoint(checkpoint)["epoch"]) if checkpoint.exists() else 0
    is_logged = str(begun[-1]) in _EPOCH.findall(log)
    assert begun[-1] - 1 <= epoch <= begun[-1] - 1 + is_logged, (
        f"the last checkpoint is of epoch {epoch}; epoch {begun[-1]} had begun"
        f"{' and was logged' if is_logged else ''}"
    )


def _count_missing(path: Path) -> tuple[str, int]:
    with h5py.File(path) as file:
        spec, names, _ = read_index(file)
    return spec.encoder, sum(map(len, find_missing(path, spec, names, BATCH_SIZE)))


def _read(path: Path) -> Any:
    return _READERS[path.suffix](path)


def _read_json(path: Path) -> Any:
    content = json.loads(path.read_text())
    content.pop("options", None)
    return {name: value for name, value in content.items() if name not in _DIFFERS}


def _read_csv(path: Path) -> bytes:
    content = path.read_bytes()
    rows = list(csv.reader(content.decode().splitlines()))
    assert content.endswith(b"\n"), path
    assert {len(row) for row in rows} == {len(rows[0])}, path
    return content


def _read_checkpoint(path: Path) -> Any:
    return _digest({k: v for k, v in read_checkpoint(path).items() if k not in _DIFFERS})


def _digest(value: Any) -> Any:
    if torch.is_tensor(value):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {name: _digest(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_digest(part) for part in value]
    return value


def _read_hdf5(path: Path) -> Any:
    with h5py.File(path) as file:
        if "images" in file:
            pack = ImagePack(path, file["images"].shape[-1])
            return {key: _digest(pack.read(key)) for key in read_texts(file, "content_keys")}
        if "features" not in file:
            read_table(path)
            facts = {name: str(value) for name, value in file.attrs.items()}
            return facts, {name: _hash(file[name]) for name in file}
        spec, names, _ = read_index(file)
    store = FeatureStore(path, spec.key(names))
    for name in names:
        store.read(name)
    assert not unfinished_path(path).exists(), f"{path} is finished and unfinished"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash(dataset: h5py.Dataset) -> str:
    values = dataset[:]
    content = repr(values.tolist()).encode() if values.dtype == object else values.tobytes()
    return hashlib.sha256(content).hexdigest()


def _read_picture(path: Path) -> str:
    with Image.open(path) as image:
        image.load()
    return hashlib.sha256(path.read_bytes()).hexdigest()


_READERS = {
    ".json": _read_json,
    ".csv": _read_csv,
    ".ckpt": _read_checkpoint,
    ".h5": _read_hdf5,
    ".png": _read_picture,
    ".txt": Path.read_text,
}
