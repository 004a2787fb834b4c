"""Synthetic images of the sizes that are measured, drawn once into the cache."""

from __future__ import annotations

import contextlib
import io
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets.synthetic.cells import draw_cell
from datasets.synthetic.storage import draw_once, generator_of, save_image, write_marker
from datasets.synthetic.tissue import draw_renal_tile
from datasets.taxonomy import WBC_CLASSES
from experiments import prepare_wbc
from models.wbc_cnn import WbcCnn

IMAGE_FOLDER: Final = "images"
FEWEST_CELLS: Final = 20
"""Fewer leave a class without an image in a split."""
FEWEST_RENAL: Final = 3
"""One for each split."""

_VERSION: Final = 1
_DRAWN: Final = 40
_RENAL_TEXTURE: Final = 500


def draw_cells(cache_root: Path, num_images: int, side: int, seed: int, *, pack: bool) -> Path:
    """Return a prepared set of at least `num_images` cells, the same number of each class.

    `_DRAWN` pictures are drawn; the others are these, shifted, so that all differ.

    Args:
        cache_root: Folder of what can be made again.
        num_images: Of all splits together.
        side: In pixels.
        seed: Of the pictures.
        pack: Store them decoded too, at the side that the cell CNN takes.
    """
    num_images = max(FEWEST_CELLS, num_images)
    identity = {
        "version": _VERSION, "num_images": num_images, "side": side, "seed": seed, "pack": pack,
    }  # fmt: skip
    write = partial(_write_cells, num_images=num_images, side=side, seed=seed, pack=pack)
    return draw_once(cache_root, "benchmark-cells", identity, write)


def draw_renal_images(cache_root: Path, num_images: int, side: int, seed: int) -> Path:
    """Return a folder of at least `num_images` renal images of `side` pixels, textures repeated."""
    num_images = max(FEWEST_RENAL, num_images)
    identity = {"version": _VERSION, "num_images": num_images, "side": side, "seed": seed}
    write = partial(_write_renal, num_images=num_images, side=side, seed=seed)
    return draw_once(cache_root, "benchmark-renal", identity, write)


def _write_cells(root: Path, *, num_images: int, side: int, seed: int, pack: bool) -> None:
    write_marker(root, {"num_images": num_images, "side": side, "seed": seed})
    drawn: list[NDArray[np.uint8]] = []
    for index in tqdm(range(num_images), desc="drawing cells", leave=False, disable=None):
        label = WBC_CLASSES[index % len(WBC_CLASSES)]
        if index < _DRAWN:
            drawn.append(draw_cell(label, side, generator_of(seed, label, index))[0])
        repeat, kind = divmod(index, _DRAWN)
        shift = divmod(repeat, side)
        picture = np.roll(drawn[kind], shift, axis=(0, 1))
        save_image(root / IMAGE_FOLDER / label / f"{label}_{index:06d}.jpg", picture)
    options = prepare_wbc.Options(
        root=root / IMAGE_FOLDER,
        out=root,
        seed=seed,
        find_copies=False,
        pack=pack,
        image_size=(WbcCnn.input_size,) if pack else (),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        prepare_wbc.main(options)


def _write_renal(root: Path, *, num_images: int, side: int, seed: int) -> None:
    write_marker(root, {"num_images": num_images, "side": side, "seed": seed})
    texture = min(side, _RENAL_TEXTURE)
    repeats = -(-side // texture)
    for index in tqdm(range(num_images), desc="drawing tissue", leave=False, disable=None):
        tile = draw_renal_tile(texture, generator_of(seed, "renal", index))
        whole = np.tile(tile, (repeats, repeats, 1))[:side, :side]
        save_image(root / IMAGE_FOLDER / f"renal_{index:06d}.jpg", whole)
