"""Small files of every kind that is read, and ways to spoil them; all made here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from datasets.feature_writing import write_store
from datasets.features import FeatureSpec
from datasets.packing import write_pack
from datasets.wsi.store import SlideFacts, TileTable, write_tiles

SIDE = 8
KEYS = ("a", "b", "c", "d")
SPEC = FeatureSpec("encoder", "0", "none", "32-true", (5,))
TILES = ("n/x0_y0", "n/x8_y0")


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    """Return the image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


IMAGES = torch.arange(len(KEYS) * 3 * SIDE**2).reshape(-1, 3, SIDE, SIDE).to(torch.uint8)
FEATURES = np.arange(len(KEYS) * 5, dtype=np.float16).reshape(len(KEYS), *SPEC.shape)
TILE_PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
"""No two rows are the same, so that one in the place of another is noticed."""


def make_pack(path: Path) -> None:
    write_pack(path, SIDE, KEYS, IMAGES)


def make_store(path: Path) -> None:
    write_store(path, SPEC, KEYS, len(KEYS), lambda batches: [FEATURES])


def make_tiles(path: Path) -> None:
    facts = SlideFacts("n", "g", "", "0", "k", "{}", SIDE, SIDE, 0, SIDE, 0.5)
    corners = np.zeros((2, 2), dtype=np.int64)
    table = TileTable(list(TILES), corners, ["normal", "tumor"], np.zeros(2), np.zeros(2))
    write_tiles(path, facts, table, [tile.tobytes() for tile in TILE_PIXELS])


def make_pcam(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((2, 96, 96, 3), dtype=np.uint8)


def make_npz(path: Path) -> None:
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.full((4, SIDE, SIDE, 3), 7, dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(4)[:, None]
    np.savez_compressed(path, **arrays)


def make_checkpoint(path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(3)}, "epoch": 3, "rng": [1, {"a": 2}]}, path)


def make_legacy_checkpoint(path: Path) -> None:
    state = {"model": {"weight": torch.ones(3)}}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def make_safetensors(path: Path) -> None:
    save_file({"weight": torch.ones(3), "bias": torch.zeros(2, 2)}, path)


def make_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/b.txt", "text" * 50)
        file.writestr("c.txt", "more")


WRITERS: dict[str, Callable[[Path], None]] = {
    "pack.h5": make_pack,
    "store.h5": make_store,
    "tiles.h5": make_tiles,
    "pcam.h5": make_pcam,
    "bloodmnist.npz": make_npz,
    "last.ckpt": make_checkpoint,
    "legacy.ckpt": make_legacy_checkpoint,
    "weights.safetensors": make_safetensors,
    "archive.zip": make_zip,
}
