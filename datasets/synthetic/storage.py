"""Synthetic sets on the disk: their mark, their place in the cache, their random generators."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.locks import OwnedLock

SYNTHETIC_MARKER: Final = "SYNTHETIC.json"
"""Lies at the root of every synthetic set; readers stamp what they find below it."""

_JPEG_QUALITY: Final = 92


def is_synthetic_root(root: Path) -> bool:
    """Return whether `root` is, or lies in, a synthetic set."""
    return any((folder / SYNTHETIC_MARKER).is_file() for folder in [root, *root.resolve().parents])


def draw_once(
    cache_root: Path, name: str, identity: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """Return the folder of a synthetic set, drawing it first if it is not in the cache.

    It appears whole or not at all, and of several processes one draws and the others wait.

    Args:
        cache_root: Folder of what can be made again.
        name: Of the set.
        identity: All that the pictures depend on; its hash stands in the folder's name.
        write: Draws the set into an empty folder.
    """
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    folder = cache_root / f"{name}-{key}"
    if folder.is_dir():  # Without the lock, which a cache that one may only read does not give.
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with OwnedLock(folder.with_name(f"{folder.name}.lock"), folder, waits=True):
        if not folder.is_dir():
            unfinished = folder.with_name(f".{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            write(unfinished)
            unfinished.rename(folder)
    return folder


def write_marker(root: Path, facts: Mapping[str, Any]) -> None:
    """Mark `root`, made if need be, as synthetic and say how it was drawn."""
    root.mkdir(parents=True, exist_ok=True)
    marker = {"synthetic": True, **facts}
    (root / SYNTHETIC_MARKER).write_text(json.dumps(marker, indent=2) + "\n")


def generator_of(seed: int, kind: str, index: int) -> np.random.Generator:
    """Return a generator of its own for each picture, so that counts don't change pictures."""
    digest = hashlib.sha256(f"{seed}/{kind}/{index}".encode()).digest()
    return np.random.default_rng(list(digest))


def save_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Save `pixels`, (H, W, 3) or (H, W), in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if path.suffix in (".tif", ".tiff"):
        image.save(path, compression="tiff_adobe_deflate")
    else:
        image.save(path, quality=_JPEG_QUALITY)
