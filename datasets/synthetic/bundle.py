"""A synthetic bundle in the course bundle's layout, written once to the cache.

Readers, splits, masks and JPEG decoding are then those of real data.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, Never

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.synthetic.cells import draw_cell
from datasets.synthetic.storage import draw_once, generator_of, save_image, write_marker
from datasets.synthetic.tissue import draw_lymph_node_tile, draw_renal_tile
from datasets.taxonomy import LABEL_PERCENTS, TILE_CLASSES, WBC_CLASSES

_GENERATOR_VERSION: Final = 1
_MASKED_PERCENT: Final = 10


@dataclass(frozen=True)
class SyntheticSizes:
    """How many synthetic images there are, and how large; sides in pixels.

    The source system's own sizes are 8,447 cells of 575, 757 tiles of 384, 1,419 images of 2,000.
    """

    cells_by_class: tuple[int, ...] = (20, 30, 50, 30, 90)
    """Training cells of WBC_100 in the order of the classes."""
    val_cells_by_class: tuple[int, ...] = (20, 30, 50, 30, 70)
    """Cells of val, of which 30 % become validation and 70 % test."""
    cell_size: int = 288
    tiles_by_class: int = 48
    """Training tiles a class; val has a quarter of it and test a third."""
    tile_size: int = 256
    renal_images: int = 40
    renal_size: int = 512
    seed: int = 0


def ensure_synthetic_bundle(cache_root: Path, sizes: SyntheticSizes | None = None) -> Path:
    """Return the folder of the synthetic bundle, drawing it first if it is not in the cache."""
    sizes = sizes or SyntheticSizes()
    identity = {"version": _GENERATOR_VERSION, **asdict(sizes)}
    return draw_once(
        cache_root, "synthetic", identity, partial(write_synthetic_bundle, sizes=sizes)
    )


def write_synthetic_bundle(root: Path, sizes: SyntheticSizes) -> None:
    """Draw a bundle into `root`: ``WBC_*``, ``CAM16_100cls_10mask`` and ``pRCC_nolabel``.

    The same sizes and seed give the same pictures. As in the course bundle, WBC_50, WBC_10 and
    WBC_1 repeat images of WBC_100, and a tenth of the training images of each have masks.
    """
    write_marker(root, {"version": _GENERATOR_VERSION, **asdict(sizes)})
    tiles = {"train": sizes.tiles_by_class, "val": sizes.tiles_by_class // 4}
    tiles["test"] = sizes.tiles_by_class // 3
    total = sum(sizes.cells_by_class) + sum(sizes.val_cells_by_class) + sizes.renal_images
    total += sum(tiles.values()) * len(TILE_CLASSES)
    with tqdm(total=total, desc="drawing synthetic images", unit="image", disable=None) as bar:
        _write_training_cells(root, sizes, bar)
        _write_val_cells(root, sizes, bar)
        _write_tiles(root / "CAM16_100cls_10mask", tiles, sizes, bar)
        for index in range(sizes.renal_images):
            tile = draw_renal_tile(sizes.renal_size, generator_of(sizes.seed, "renal", index))
            save_image(root / "pRCC_nolabel" / f"renal_{index:04d}.jpeg", tile)
            bar.update()


def _write_training_cells(root: Path, sizes: SyntheticSizes, bar: tqdm[Never]) -> None:
    for label, number in zip(WBC_CLASSES, sizes.cells_by_class, strict=True):
        for index in range(number):
            rng = generator_of(sizes.seed, f"train/{label}", index)
            picture, mask = draw_cell(label, sizes.cell_size, rng)
            for percent in LABEL_PERCENTS:
                kept = _share(number, percent)
                if index >= kept:
                    continue
                train = root / f"WBC_{percent}" / "train"
                name = f"{label.capitalize()}/{label}_{index:04d}.jpg"
                save_image(train / "data" / name, picture)
                if index < _share(kept, _MASKED_PERCENT):
                    save_image(train / "mask" / name, mask)
            bar.update()


def _write_val_cells(root: Path, sizes: SyntheticSizes, bar: tqdm[Never]) -> None:
    for label, number in zip(WBC_CLASSES, sizes.val_cells_by_class, strict=True):
        for index in range(number):
            rng = generator_of(sizes.seed, f"val/{label}", index)
            picture, _ = draw_cell(label, sizes.cell_size, rng)
            folder = root / "WBC_100" / "val" / "data" / label.capitalize()
            save_image(folder / f"{label}_v{index:04d}.jpg", picture)
            bar.update()


def _write_tiles(
    root: Path, tiles: dict[str, int], sizes: SyntheticSizes, bar: tqdm[Never]
) -> None:
    for split, number in tiles.items():
        for label in TILE_CLASSES:
            for index in range(number):
                rng = generator_of(sizes.seed, f"{split}/{label}", index)
                tile, mask = draw_lymph_node_tile(label, sizes.tile_size, rng)
                name = f"{label}/{label}_{split}_{index:04d}.jpg"
                save_image(root / split / "data" / name, tile)
                if split == "train" and index < _share(number, _MASKED_PERCENT):
                    save_image(root / split / "mask" / name, mask)
                bar.update()


def draw_cell_sheet(columns: int, size: int, seed: int) -> Image.Image:
    """Return `columns` cells of `size` pixels of each class, a row a class in their order."""
    rows = [
        np.hstack(
            [
                draw_cell(label, size, generator_of(seed, label, index))[0]
                for index in range(columns)
            ]
        )
        for label in WBC_CLASSES
    ]
    return Image.fromarray(np.vstack(rows))


def draw_tissue_sheet(size: int, seed: int) -> Image.Image:
    """Return two normal, two tumor and two renal tiles of `size` pixels side by side."""
    pairs = [(label, index) for label in TILE_CLASSES for index in range(2)]
    tiles = [
        draw_lymph_node_tile(label, size, generator_of(seed, label, index))[0]
        for label, index in pairs
    ]
    tiles += [draw_renal_tile(size, generator_of(seed, "renal", index)) for index in range(2)]
    return Image.fromarray(np.hstack(tiles))


def _share(number: int, percent: int) -> int:
    return max(1, number * percent // 100)
