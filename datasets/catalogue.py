"""All sources by name: how each is read, where it is found, and its card."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from datasets.errors import DatasetError
from datasets.published import PublishedSet
from datasets.sources.aml import read_aml
from datasets.sources.bccd import read_bccd
from datasets.sources.bloodmnist import read_bloodmnist
from datasets.sources.camelyon16 import read_camelyon16_tiles
from datasets.sources.kaggle_blood_cells import read_kaggle_blood_cells, read_kaggle_photographs
from datasets.sources.pbc import read_pbc
from datasets.sources.pcam import read_pcam
from datasets.sources.prcc import read_prcc
from datasets.sources.raabin import read_raabin
from datasets.sources.segmentation_wbc import read_segmentation_wbc
from datasets.sources.wbc_bundle import read_wbc_bundle
from datasets.stand_in import name_stand_in

PreparedSource = Literal[
    "raabin",
    "pbc",
    "aml",
    "kaggle_blood_cells",
    "kaggle_photographs",
    "bccd",
    "segmentation_wbc",
    "bloodmnist",
    "pcam",
]
PREPARED_SOURCES: Final[tuple[PreparedSource, ...]] = get_args(PreparedSource)


@dataclass(frozen=True)
class Source:
    """A published set.

    Attributes:
        reader: Reads it; its docstring holds the card.
        marks: Patterns below a root, one of which is there where the set lies.
        options: Keyword arguments of `reader` that a user may set.
    """

    reader: Callable[..., Any]
    marks: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """The card: what, how many, classes, splits, licence, citation, source, folders.

        Raises:
            ValueError: The reader has none.
        """
        text = inspect.getdoc(self.reader) or ""
        lines = text.partition("Card:\n")[2].splitlines()
        card = []
        for line in lines:
            if line.strip() and not line.startswith(" "):
                break
            card.append(line)
        if not card:
            raise ValueError(f"{self.reader.__name__} has no card in its docstring.")
        return textwrap.dedent("\n".join(card)).strip()

    def is_at(self, folder: Path) -> bool:
        """Return whether the set lies in `folder`."""
        return any(next(folder.glob(mark), None) is not None for mark in self.marks)


SOURCES: Final[dict[str, Source]] = {
    "wbc_bundle": Source(read_wbc_bundle, ("WBC_100/train/data",)),
    "camelyon16": Source(read_camelyon16_tiles, ("CAM16_100cls_10mask/train/data",)),
    "prcc": Source(read_prcc, ("pRCC_nolabel",)),
    "raabin": Source(read_raabin, ("Train/Basophil", "Raabin-WBC/Train")),
    "pbc": Source(read_pbc, ("PBC_dataset_normal_DIB",)),
    "aml": Source(read_aml, ("AML-Cytomorphology*", "NGS/NGS_*")),
    "kaggle_blood_cells": Source(
        read_kaggle_blood_cells,
        ("dataset2-master/images/TRAIN", "dataset2-master/dataset2-master/images/TRAIN"),
    ),
    "kaggle_photographs": Source(
        read_kaggle_photographs,
        ("dataset-master/JPEGImages", "dataset-master/dataset-master/JPEGImages"),
    ),
    "bccd": Source(
        read_bccd, ("BCCD/Annotations", "BCCD_Dataset-master/BCCD"), ("labels", "margin")
    ),
    "segmentation_wbc": Source(
        read_segmentation_wbc, ("Class Labels of Dataset 1.csv", "segmentation_WBC-master")
    ),
    "pcam": Source(read_pcam, ("camelyonpatch_level_2_split_*_x.h5", "pcam/*_x.h5")),
    "bloodmnist": Source(read_bloodmnist, ("bloodmnist*.npz",)),
}
"""Every source by name; those in `PREPARED_SOURCES` go through prepare_wbc.py."""


def read_source(name: PreparedSource, root: Path, **options: object) -> PublishedSet:
    """Return the published set `name` under `root`; a stand-in for it bears its own name.

    Args:
        name: Of the source.
        root: As its card says.
        options: What the user set; an entry of None was not set.

    Raises:
        DatasetError: An option is of no use to this source, or as the source's reader, or the
            marker of a stand-in is damaged.
    """
    given = {key: value for key, value in options.items() if value is not None}
    refuse_options(name, given)
    return name_stand_in(SOURCES[name].reader(root, **given), name)


def refuse_options(name: str, given: Iterable[str]) -> None:
    """Raise unless the source `name` takes all the options in `given`.

    Raises:
        DatasetError: Naming the flag and the source that it belongs to.
    """
    taken = SOURCES[name].options if name in SOURCES else ()
    for key in given:
        if key not in taken:
            able = ", ".join(other for other, entry in SOURCES.items() if key in entry.options)
            raise DatasetError(f"--{key} is of no use to --source {name}; it belongs to {able}.")


def find_source(name: str, data_root: Path) -> Path | None:
    """Return where the source lies: `data_root` or a folder in it, or None.

    Raises:
        DatasetError: There is no folder `data_root`.
    """
    if not data_root.is_dir():
        raise DatasetError(f"No folder {data_root}. Pass another --data-root.")
    inside = [path for path in sorted(data_root.iterdir()) if path.is_dir()]
    return next((path for path in (data_root, *inside) if SOURCES[name].is_at(path)), None)
