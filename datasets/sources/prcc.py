"""Unlabelled images of papillary renal cell carcinoma (pRCC), whole or cut into tiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch.utils.data import Dataset

from datasets.errors import DatasetError
from datasets.images import list_images, read_image, read_sample, split_readable, to_tensor
from datasets.samples import Sample, SampleSet, hash_file
from datasets.splits import draw_parts
from datasets.synthetic import is_synthetic_root
from datasets.taxonomy import Split

FOLDER: Final = "pRCC_nolabel"
PUBLISHED_IMAGES: Final = 1419
"""By the table "Dataset Statistics" in the course's README."""
SPLIT_FRACTIONS: Final[dict[Split, float]] = {"train": 0.8, "val": 0.1, "test": 0.1}
_TCGA_PATIENT: Final = re.compile(r"^(TCGA-\w{2}-\w{4})")


def read_prcc(root: Path, *, seed: int = 0, skip_unreadable: bool = False) -> SampleSet:
    """Return the images, split 80/10/10 by patient where the file name tells, else by image.

    Card:
        What: 1,419 H&E images of 2000x2000 pixels without labels.
        Splits: drawn here from `seed`. Names that begin with a TCGA barcode are grouped by it.
        Source: bundled for the course that the fused classifier comes from.
        Folders: ``pRCC_nolabel/*.jpeg``, flat or in one sub-folder. `root` may also be that
            folder itself.

    Raises:
        DatasetError: There are fewer than three groups of images.
    """
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    if not folder.is_dir():
        raise DatasetError(
            f"No folder {root}. Expected {FOLDER}/ with images, or a folder of images itself. See "
            "README, Data, or pass another --data-root."
        )
    subfolders = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    paths = list_images(folder) or [p for sub in subfolders[:1] for p in list_images(sub)]
    skipped: list[Path] = []
    if skip_unreadable:
        paths, skipped = split_readable(paths)
    hashes = [hash_file(path) for path in paths]
    groups = [
        _find_patient(path.name) or content for path, content in zip(paths, hashes, strict=True)
    ]
    if len(set(groups)) < len(SPLIT_FRACTIONS):
        raise DatasetError(
            f"{folder} holds images of {len(set(groups))} patient(s); train, val and test need "
            f"one each. Expected {FOLDER}/*.jpeg, flat or in one sub-folder. See README, Data."
        )
    splits = draw_parts(["all"] * len(paths), groups, SPLIT_FRACTIONS, seed)
    is_synthetic = is_synthetic_root(root)
    return SampleSet(
        name="synthetic renal tiles" if is_synthetic else folder.resolve().name,
        classes=(),
        samples=tuple(
            Sample(
                sample_id=path.relative_to(folder).as_posix(),
                path=path,
                label=None,
                split=split,
                group=group,
                sha256=content,
            )
            for path, split, group, content in zip(paths, splits, groups, hashes, strict=True)
        ),
        is_synthetic=is_synthetic,
        skipped=tuple(path.relative_to(folder).as_posix() for path in skipped),
    )


@dataclass(frozen=True)
class Tile:
    """A square of an image: upper left corner and side in pixels of that image."""

    sample: Sample
    left: int
    top: int
    side: int


def cut_tiles(samples: Sequence[Sample], tile_size: int) -> list[Tile]:
    """Return tiles of side `tile_size` that cover each image, overlapping no more than needed.

    An image smaller than a tile gives one tile of its shorter side.
    """
    tiles: list[Tile] = []
    for sample in samples:
        width, height = read_image(sample.path).size
        side = min(tile_size, width, height)
        tiles += [
            Tile(sample, left, top, side)
            for top in _spread(height, side)
            for left in _spread(width, side)
        ]
    return tiles


def _spread(length: int, side: int) -> list[int]:
    """Return evenly spread starts of the fewest windows of `side` that cover `length`."""
    number = -(-length // side)
    if number == 1:
        return [0]
    return [round(index * (length - side) / (number - 1)) for index in range(number)]


class TileDataset(Dataset[dict[str, Any]]):
    """Tiles as tensors: ``image`` uint8 (3, S, S), ``label`` -1, ``index``, ``features`` empty."""

    def __init__(self, tiles: Sequence[Tile], image_size: int) -> None:
        self.tiles = list(tiles)
        self.samples = [tile.sample for tile in self.tiles]
        self.labels = [-1] * len(self.tiles)
        self.classes: tuple[str, ...] = ()
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> dict[str, Any]:
        tile = self.tiles[index]
        box = (tile.left, tile.top, tile.left + tile.side, tile.top + tile.side)
        image = read_sample(tile.sample).crop(box)
        tensor = to_tensor(image, self.image_size)
        return {"image": tensor, "label": -1, "index": index, "features": {}}


def _find_patient(file_name: str) -> str | None:
    match = _TCGA_PATIENT.match(file_name)
    return match.group(1) if match else None
