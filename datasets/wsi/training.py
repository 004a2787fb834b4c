"""Tiles of slides as training data: the set that `tile_slides.py` wrote, read a tile at a time."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from datasets.errors import DatasetError
from datasets.image_roots import ImageRoot
from datasets.images import FeatureLookup, ImageSize, to_tensor
from datasets.safe_hdf5 import HDF5_ERRORS
from datasets.safe_json import read_json_object
from datasets.samples import Sample, SampleSet
from datasets.taxonomy import SPLITS, TILE_CLASSES
from datasets.wsi.manifest import (
    TILE_COLUMNS,
    TILES_INFO_NAME,
    TILES_NAME,
    explain_unlabelled,
    hash_origin,
)
from datasets.wsi.store import IGNORED, UNLABELLED, TilePixels, open_tiles, read_table


def is_tile_root(root: Path) -> bool:
    """Return whether `root` holds tiles as ``tile_slides.py`` writes them."""
    return (root / TILES_NAME).is_file()


def read_slide_tiles(root: Path) -> SampleSet:
    """Return the normal and tumor tiles of all slides below `root`, split by patient.

    Raises:
        DatasetError: The manifest is broken, no tile has a label, a tile file is missing, there
            were too few slides to draw splits, or a patient is in two splits.
    """
    path, info_path = root / TILES_NAME, root / TILES_INFO_NAME
    try:
        info = read_json_object(info_path)
        name, is_synthetic = str(info["name"]), bool(info["synthetic"])
        skipped = tuple(map(str, info.get("failed", ())))
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in TILE_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(
                    f"{path} lacks the column(s) {', '.join(missing)}. Write it again with "
                    "experiments/tile_slides.py."
                )
            rows = list(reader)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DatasetError(
            f"{path} or {info_path.name} cannot be read ({error}). Write them again with "
            "experiments/tile_slides.py; finished slides are kept."
        ) from error
    files = ImageRoot(root)
    samples = [
        _make_sample(row, files, f"{path}, row {number}")
        for number, row in enumerate(rows, start=1)
        if row["label"] not in (IGNORED, UNLABELLED)
    ]
    if rows and all(row["label"] == UNLABELLED for row in rows):
        raise DatasetError(f"{path}: {explain_unlabelled(len(rows))}")
    twice = [name for name, n in Counter(s.sample_id for s in samples).items() if n > 1]
    if twice:
        raise DatasetError(f"{path}: sample_id {twice[0]!r} stands more than once.")
    tiles = SampleSet(name, TILE_CLASSES, tuple(samples), is_synthetic, skipped)
    tiles.require_separate_groups()
    return tiles


def _make_sample(row: Mapping[str, str], files: ImageRoot, where: str) -> Sample:
    advice = "Cut the slide again with experiments/tile_slides.py."
    path = files.find(row["path"], where, advice)
    split = next((known for known in SPLITS if known == row["split"]), None)
    if split is None:
        raise DatasetError(
            f"{where}: split {row['split']!r} is none of {', '.join(SPLITS)}. An empty one means "
            "that there were too few slides: each split needs a patient with normal and one with "
            "tumor tiles. Cut more slides into the same folder with experiments/tile_slides.py."
        )
    if row["label"] not in TILE_CLASSES:
        raise DatasetError(
            f"{where}: label {row['label']!r} is none of {', '.join(TILE_CLASSES)}, {IGNORED}, "
            f"{UNLABELLED}."
        )
    return Sample(
        sample_id=row["sample_id"],
        path=path,
        label=row["label"],
        split=split,
        group=row["group"],
        sha256=row["sha256"],
    )


class _OpenFile:
    """The open file of a slide's tiles, which gives those that the manifest means."""

    def __init__(self, path: Path) -> None:
        self._facts, table = read_table(path)
        self._corners = table.corners
        self._rows = {name: row for row, name in enumerate(table.sample_ids)}
        self._pixels = TilePixels(open_tiles(path))

    def read(self, sample: Sample) -> Image.Image:
        row = self._rows[sample.sample_id]
        x, y = self._corners[row].tolist()
        if hash_origin(self._facts, x, y) != sample.sha256:
            raise ValueError(f"it was cut again since {TILES_NAME} was written")
        return Image.fromarray(self._pixels.read(row, sample.sample_id))


class SlideTileDataset(Dataset[dict[str, Any]]):
    """Tiles from HDF5, as dicts like those of `datasets.images.ImageDataset`.

    ``image`` uint8 (3, S, S), ``label`` and ``index`` int, ``features`` by encoder name. Each file
    is opened on the first read of one of its tiles, once in each worker process.

    Args:
        samples: As `read_slide_tiles` returns them, in the order of the indices.
        classes: Class names in the order of the label indices.
        image_size: To which tiles are resized.
        features: Stored features to give with each tile, by encoder name.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        image_size: ImageSize,
        features: dict[str, FeatureLookup] | None = None,
    ) -> None:
        self.samples = list(samples)
        self.classes = tuple(classes)
        self.image_size = image_size
        self.features = features or {}
        label_index = {name: index for index, name in enumerate(self.classes)}
        self.labels = [label_index[s.label] if s.label and classes else -1 for s in self.samples]
        self._files: dict[Path, _OpenFile] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one tile.

        Raises:
            DatasetError: Its file is broken or does not hold it.
        """
        sample = self.samples[index]
        features = {name: store.read(sample.content_key) for name, store in self.features.items()}
        return {
            "image": to_tensor(self._read(sample), self.image_size),
            "label": self.labels[index],
            "index": index,
            "features": features,
        }

    def _read(self, sample: Sample) -> Image.Image:
        try:
            if sample.path not in self._files:
                self._files[sample.path] = _OpenFile(sample.path)
            return self._files[sample.path].read(sample)
        except HDF5_ERRORS as error:
            raise DatasetError(
                f"{sample.path} does not give the tile {sample.sample_id} ({error}). Run "
                f"experiments/tile_slides.py again, which also writes {TILES_NAME}; delete the "
                "file first if it is damaged."
            ) from error

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": {}}
