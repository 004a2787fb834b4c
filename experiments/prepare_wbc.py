"""Freeze a cell set as a manifest: splits that do not leak, and nested label subsets.

    python experiments/prepare_wbc.py --source folders --root DIR --out data/wbc --seed 0

Reads one folder of images a class, hashes every file, draws train, val and test (70/10/20,
stratified, at least one image a class in each) and label subsets of 1, 10, 50 and 100 % inside each
other. Writes manifest.csv and manifest.json, which the other scripts take as --data-root.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.folders import read_folders
from datasets.manifest import MANIFEST_NAME, write_manifest
from datasets.samples import SampleSet
from datasets.taxonomy import LABEL_PERCENTS, WBC_CLASSES, LabelPercent, Split
from experiments.cli import run_script

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What is read, how it is split, and where the manifest goes."""

    root: Path
    """Folder that holds one folder of images a class."""
    out: Path
    """Folder for manifest.csv and manifest.json."""
    source: Literal["folders"] = "folders"
    """Layout of the set."""
    seed: int = 0
    """Of the draw."""
    classes: tuple[str, ...] = WBC_CLASSES
    """Class folders that are read, in the order of the label indices; case does not matter."""
    ignore_classes: tuple[str, ...] = ()
    """Further folders that may be there and are left out."""
    val_fraction: float = 0.1
    """Share of the images for validation."""
    test_fraction: float = 0.2
    """Share of the images for the test."""
    group_pattern: str | None = None
    """Regular expression that finds an image's group (patient, smear) in its file name."""
    skip_unreadable: bool = False
    """Leave out, count and list images that do not decode; without it they are an error."""
    overwrite: bool = False
    """Replace an earlier manifest."""

    def __post_init__(self) -> None:
        """Refuse fractions that leave a split empty.

        Raises:
            ValueError: Naming the flags.
        """
        held_out = self.val_fraction + self.test_fraction
        if min(self.val_fraction, self.test_fraction) <= 0 or held_out >= 1:
            raise ValueError(
                "--val-fraction and --test-fraction must be above 0 and leave something for "
                f"training, not {self.val_fraction} and {self.test_fraction}."
            )


def main(options: Options) -> Path:
    """Write the manifest and print what it holds; return its path."""
    if (options.out / MANIFEST_NAME).exists() and not options.overwrite:
        raise ValueError(
            f"{options.out / MANIFEST_NAME} is there already. Pass --overwrite to replace it, or "
            "another --out."
        )
    cells = read_folders(
        options.root,
        classes=options.classes,
        ignored=options.ignore_classes,
        fractions={
            "train": 1 - options.val_fraction - options.test_fraction,
            "val": options.val_fraction,
            "test": options.test_fraction,
        },
        seed=options.seed,
        group_pattern=options.group_pattern,
        check_readable=True,
        skip_unreadable=options.skip_unreadable,
    )
    info = {
        "name": cells.name,
        "classes": list(cells.classes),
        "source": options.source,
        "seed": options.seed,
        "synthetic": cells.is_synthetic,
        "skipped": list(cells.skipped),
    }
    path = write_manifest(options.out, cells.samples, options.root, info)
    print(f"{_format_counts(cells)}\nWritten to {path}")
    return path


def _format_counts(cells: SampleSet) -> str:
    columns: list[tuple[Split, LabelPercent]] = [("train", p) for p in LABEL_PERCENTS]
    columns += [("val", 100), ("test", 100)]
    heads = [f"{percent} %" if split == "train" else split for split, percent in columns]
    counts = [cells.count(split, percent) for split, percent in columns]
    lines = [f"{'class':14}" + "".join(f"{head:>8}" for head in heads)]
    lines += [
        f"{name:14}" + "".join(f"{count[name]:8d}" for count in counts) for name in cells.classes
    ]
    groups = [cells.count_groups(split, percent) for split, percent in columns]
    lines.append(f"{'all':14}" + "".join(f"{sum(count.values()):8d}" for count in counts))
    lines.append(f"{'groups':14}" + "".join(f"{number:8d}" for number in groups))
    if cells.skipped:
        lines.append(f"Left out as unreadable: {len(cells.skipped)}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
