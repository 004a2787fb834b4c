"""The white blood cells of the course bundle: ``WBC_100``, ``WBC_50``, ``WBC_10``, ``WBC_1``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.folders import find_class_folders
from datasets.images import list_images, split_readable
from datasets.masks import find_masks
from datasets.samples import ALL_PERCENTS, Sample, SampleSet, hash_file
from datasets.splits import draw_parts
from datasets.synthetic import is_synthetic_root
from datasets.taxonomy import LABEL_PERCENTS, WBC_CLASSES, LabelPercent, Split

VAL_FRACTIONS: Final[dict[Split, float]] = {"test": 0.7, "val": 0.3}
VAL_SEED: Final = 0
"""The bundle's ``val`` is divided once, whatever the seed of a run."""

PUBLISHED_TRAIN: Final[dict[LabelPercent, tuple[int, ...]]] = {
    100: (176, 618, 2015, 466, 5172),
    50: (88, 309, 1007, 233, 2586),
    10: (17, 61, 201, 46, 517),
    1: (1, 6, 20, 4, 51),
}
PUBLISHED_MASKS: Final[dict[LabelPercent, tuple[int, ...]]] = {
    100: (17, 61, 201, 46, 517),
    50: (8, 30, 100, 23, 258),
    10: (1, 6, 20, 4, 51),
    1: (0, 0, 2, 0, 5),
}
PUBLISHED_VAL: Final = (36, 126, 412, 95, 1059)
"""These and the above by the table "Dataset Statistics" in the course's README."""

log = logging.getLogger(__name__)


def read_wbc_bundle(
    root: Path,
    *,
    use_masks: bool = True,
    check_counts: bool = False,
    skip_unreadable: bool = False,
) -> SampleSet:
    """Return the cells of the bundle, all label subsets together.

    Card:
        What: 10,175 single cells, 575x575 JPEG, cropped from Giemsa-stained smears, taken with a
            phone on two microscopes. 8,447 for training, 1,728 in ``val``; a tenth of each
            training subset has a mask of the cell.
        Classes: basophil, eosinophil, lymphocyte, monocyte, neutrophil.
        Splits: training subsets of 100, 50, 10 and 1 % by the bundle's authors. ``val`` is divided
            here, once, into validation (30 %) and test (70 %), stratified.
        Source: Raabin-WBC (Kouzehkanan et al., Scientific Reports 12:1123, 2022), CC BY 4.0.
        Folders: ``WBC_100/train/data/<Class>/*.jpg``, ``WBC_100/train/mask/<Class>/*.jpg`` (a
            mask bears its image's name), ``WBC_100/val/data/<Class>/*.jpg``; likewise ``WBC_50``,
            ``WBC_10`` and ``WBC_1``, of which only ``train`` is read.

    A file that stands in several subsets is one sample. With masks, image x mask is one more
    training sample in the subsets that hold its mask, in the group of its image.

    Args:
        root: Folder that holds ``WBC_100``. Subsets that are not there cannot be trained on.
        use_masks: Add the masked images.
        check_counts: Refuse a set whose counts differ from the published ones, otherwise warn.
        skip_unreadable: Decode every file first and leave out, and list, those that do not.

    Raises:
        DatasetError: A folder is missing, empty or unknown; a mask has no image or another size;
            the counts differ and `check_counts` is set.
    """
    samples: dict[tuple[str, ...], Sample] = {}
    differences: list[str] = []
    broken: list[Path] = []
    for percent in sorted(LABEL_PERCENTS, reverse=True):
        train = root / f"WBC_{percent}" / "train"
        if percent != 100 and not train.is_dir():
            log.info("%s is not there: no training on %s %% of the labels.", train, percent)
            continue
        images, unreadable = _list_class_images(train / "data", skip_unreadable)
        broken += unreadable
        masks = find_masks(train / "mask", images) if use_masks else {}
        differences += _compare(f"WBC_{percent}/train/data", images, PUBLISHED_TRAIN[percent])
        if use_masks:
            by_class = {k: [p for p in v if p in masks] for k, v in images.items()}
            differences += _compare(f"WBC_{percent}/train/mask", by_class, PUBLISHED_MASKS[percent])
        for label, paths in images.items():
            for path in paths:
                _add_training(samples, root, path, label, percent, masks.get(path))
    val_images, unreadable = _list_class_images(root / "WBC_100" / "val" / "data", skip_unreadable)
    differences += _compare("WBC_100/val/data", val_images, PUBLISHED_VAL)
    sample_set = SampleSet(
        name="synthetic cells" if is_synthetic_root(root) else "course bundle cells",
        classes=WBC_CLASSES,
        samples=(*samples.values(), *_divide_val(root, val_images)),
        is_synthetic=is_synthetic_root(root),
        skipped=tuple(path.relative_to(root).as_posix() for path in (*broken, *unreadable)),
    )
    if not sample_set.is_synthetic:
        report_counts(differences, strict=check_counts)
    return sample_set


def report_counts(differences: list[str], *, strict: bool) -> None:
    """Warn of counts that are not the published ones.

    Raises:
        DatasetError: `strict` is set and there are differences.
    """
    if not differences:
        return
    text = "Counts differ from the published ones:\n  " + "\n  ".join(differences)
    if strict:
        raise DatasetError(f"{text}\nComplete the set, or leave out --check-counts.")
    log.warning("%s\nPass --check-counts to refuse such a set.", text)


def _list_class_images(
    folder: Path, skip_unreadable: bool
) -> tuple[dict[str, list[Path]], list[Path]]:
    images = {label: list_images(path) for label, path in find_class_folders(folder).items()}
    broken: list[Path] = []
    if skip_unreadable:
        readable, broken = split_readable(path for paths in images.values() for path in paths)
        kept = set(readable)
        images = {label: [p for p in paths if p in kept] for label, paths in images.items()}
    for label, paths in images.items():
        if not paths:
            raise DatasetError(f"{folder} holds no readable image of class {label}.")
    return images, broken


def _compare(where: str, images: Mapping[str, list[Path]], published: tuple[int, ...]) -> list[str]:
    return [
        f"{where}/{label.capitalize()}: {len(paths)} files, published {expected}"
        for (label, paths), expected in zip(images.items(), published, strict=True)
        if len(paths) != expected
    ]


def _add_training(
    samples: dict[tuple[str, ...], Sample],
    root: Path,
    path: Path,
    label: str,
    percent: LabelPercent,
    mask_path: Path | None,
) -> None:
    """Add the image, and the masked image if there is a mask, to the label subset `percent`."""
    image_hash = hash_file(path)
    variants: list[tuple[Path | None, str]] = [(None, "")]
    if mask_path is not None:
        variants.append((mask_path, hash_file(mask_path)))
    for mask, mask_hash in variants:
        identity = (label, path.name, image_hash, mask_hash)
        known = samples.get(identity)
        if known is not None:
            grown = known.label_percents | {percent}
            samples[identity] = replace(known, label_percents=grown)
            continue
        name = path.relative_to(root).as_posix()
        samples[identity] = Sample(
            sample_id=f"{name}#masked" if mask else name,
            path=path,
            label=label,
            split="train",
            group=image_hash,
            sha256=image_hash,
            label_percents=frozenset({percent}),
            mask_path=mask,
            mask_sha256=mask_hash,
        )


def _divide_val(root: Path, images: Mapping[str, list[Path]]) -> list[Sample]:
    labelled = [(label, path) for label, paths in images.items() for path in paths]
    hashes = [hash_file(path) for _, path in labelled]
    splits = draw_parts([label for label, _ in labelled], hashes, VAL_FRACTIONS, VAL_SEED)
    return [
        Sample(
            sample_id=path.relative_to(root).as_posix(),
            path=path,
            label=label,
            split=split,
            group=content,
            sha256=content,
            label_percents=ALL_PERCENTS,
        )
        for (label, path), content, split in zip(labelled, hashes, splits, strict=True)
    ]
