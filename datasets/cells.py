"""Opens whatever cell set lies under a data root."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from datasets.errors import DatasetError
from datasets.folders import read_folders
from datasets.manifest import MANIFEST_NAME, read_manifest
from datasets.samples import SampleSet
from datasets.sources.wbc_bundle import read_wbc_bundle
from datasets.taxonomy import WBC_CLASSES, LabelPercent
from datasets.verification import require_unchanged


def open_cells(
    root: Path,
    label_percent: LabelPercent,
    *,
    use_masks: bool = True,
    check_counts: bool = False,
    skip_unreadable: bool = False,
) -> SampleSet:
    """Return the cell set under `root`.

    It is, in this order: a set that ``prepare_wbc.py`` wrote (``manifest.csv``), the course bundle
    (``WBC_100``), or one folder of images a class.

    Raises:
        DatasetError: There is none of them, a folder is of no class, a class is missing from a
            split, or a group is in two.
    """
    cells = read_prepared(
        root, use_masks=use_masks, check_counts=check_counts, skip_unreadable=skip_unreadable
    )
    if cells is None:
        cells = _read_class_folders(root, skip_unreadable=skip_unreadable)
    cells.require_all_classes(label_percent)
    cells.require_separate_groups()
    return cells


def read_prepared(
    root: Path,
    *,
    use_masks: bool = True,
    check_counts: bool = False,
    skip_unreadable: bool = False,
) -> SampleSet | None:
    """Return the set under `root` that comes with its own splits, complete or not.

    None where there is neither a manifest nor the course bundle.

    Raises:
        DatasetError: There is one that cannot be read, or a file changed since its manifest was
            written.
    """
    if (root / MANIFEST_NAME).is_file():
        cells = read_manifest(root)
        require_unchanged(root, cells.samples)
        if use_masks:
            return cells
        plain = tuple(sample for sample in cells.samples if sample.mask_path is None)
        return replace(cells, samples=plain)
    if (root / "WBC_100").is_dir():
        return read_wbc_bundle(
            root,
            use_masks=use_masks,
            check_counts=check_counts,
            skip_unreadable=skip_unreadable,
        )
    return None


def _read_class_folders(root: Path, *, skip_unreadable: bool) -> SampleSet:
    if root.is_dir() and any(path.name.lower() in WBC_CLASSES for path in root.iterdir()):
        # Here, since the flag with which `read_folders` would be content is no training's.
        unknown = [
            path.name
            for path in sorted(root.iterdir())
            if path.is_dir()
            and not path.name.startswith(".")
            and path.name.lower() not in WBC_CLASSES
        ]
        if unknown:
            raise DatasetError(
                f"{root} holds unknown class folder(s) {', '.join(unknown)}; known: "
                f"{', '.join(WBC_CLASSES)}. Prepare the set first: python "
                f"experiments/prepare_wbc.py --root {shlex.quote(str(root))} --out data/wbc "
                f"--ignore-classes {shlex.join(unknown)}; then --data-root data/wbc."
            )
        return read_folders(root, skip_unreadable=skip_unreadable)
    raise DatasetError(
        f"No WBC images under {root}. Expected {MANIFEST_NAME} as experiments/prepare_wbc.py "
        "writes it, the course bundle (WBC_100/train/data/Basophil/..., see README, Data), or "
        f"one folder a class ({', '.join(name.capitalize() for name in WBC_CLASSES)}). Pass "
        "another --data-root, or none to use the synthetic set."
    )
