"""Checks of the folders that runs and features go to, and of the cache of weights."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from experiments.health.findings import Finding

LEAST_FREE: Final = 1e9
"""Bytes. One run takes up to 0.1 GB, the features of 2,000 cells 2 GB."""
GOOD_FREE: Final = 10e9


def check_folder(flag: str, folder: Path) -> Finding:
    """Check that a folder, or what there is of its path, can be written and locked, with room.

    Nothing is left behind, and the folder is not made.
    """
    name = f"{flag} {folder}"
    try:
        there = folder.resolve()
        while not there.exists():
            there = there.parent
        with tempfile.TemporaryDirectory(dir=there, prefix=".doctor-") as inside:
            _require_lock(Path(inside))
            (Path(inside) / "a").write_bytes(b"x")
            (Path(inside) / "a").replace(Path(inside) / "b")
        free = shutil.disk_usage(there).free
    except (OSError, NotImplementedError) as error:
        return Finding(
            "fail", name, f"cannot be written or locked ({error})",
            f"Mend the permissions, or pass another {flag} on a local disk.",
        )  # fmt: skip
    detail = f"can be written, {free / 1e9:.1f} GB free"
    if free < LEAST_FREE:
        return Finding("fail", name, detail, f"Free some, or pass another {flag} on another disk.")
    if free < GOOD_FREE:
        return Finding(
            "warn", name, detail, "Features of 1,000 cells take 1 GB: they may not find room."
        )
    return Finding("ok", name, detail)


def check_weights(backbones: Sequence[str]) -> Finding:
    """Check which pretrained weights lie in the cache."""
    try:
        library = importlib.import_module("models.backbones")
        paths = {name: Path(library.find_cached_weights(name)) for name in backbones}
    except (ImportError, OSError) as error:
        return Finding("fail", "pretrained weights", str(error).splitlines()[0][:200])
    missing = [name for name, path in paths.items() if not path.is_file()]
    folder = next(iter(paths.values())).parent
    if not missing:
        return Finding("ok", "pretrained weights", f"{', '.join(backbones)} in {folder}")
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    unwritable = "" if os.access(there, os.W_OK) else f", and {there} cannot be written"
    return Finding(
        "warn", "pretrained weights", f"{', '.join(missing)} not in {folder}{unwritable}",
        "Real data need them: they are downloaded on first use; without a network, pass "
        "--backbone-weights FILE, or set TORCH_HOME to a folder that has them.",
    )  # fmt: skip


def _require_lock(folder: Path) -> None:
    filelock = importlib.import_module("filelock")
    with filelock.FileLock(folder / "lock", timeout=5):
        pass
