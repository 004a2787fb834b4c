"""Tumor and normal tiles of Camelyon16, cut and sorted into folders."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.folders import find_class_folders
from datasets.grouping import match_group
from datasets.images import list_images, split_readable
from datasets.masks import find_masks
from datasets.samples import Sample, SampleSet, hash_file
from datasets.sources.wbc_bundle import report_counts
from datasets.synthetic import is_synthetic_root
from datasets.taxonomy import SPLITS, TILE_CLASSES, Split

FOLDER: Final = "CAM16_100cls_10mask"
PUBLISHED: Final[dict[Split, tuple[int, int]]] = {
    "train": (379, 378),
    "val": (54, 54),
    "test": (108, 108),
}
PUBLISHED_MASKS: Final = (37, 37)
"""In the order of the classes, by the table "Dataset Statistics" in the course's README."""


def read_camelyon16_tiles(
    root: Path,
    *,
    use_masks: bool = True,
    check_counts: bool = False,
    group_pattern: str | None = None,
    skip_unreadable: bool = False,
) -> SampleSet:
    """Return the tumor and normal tiles.

    Card:
        What: 1,081 tiles of 384x384 pixels from H&E slides of sentinel lymph nodes; 74 training
            tiles have a mask.
        Classes: normal, tumor.
        Splits: train 757, val 108, test 216, by the course bundle's authors.
        Source: CAMELYON16 (Ehteshami Bejnordi et al., JAMA 318:2199, 2017), CC0.
        Folders: ``CAM16_100cls_10mask/{train,val,test}/data/{normal,tumor}/*`` and
            ``train/mask/{normal,tumor}/*``. `root` may also be that folder itself.

    Args:
        root: Folder that holds ``CAM16_100cls_10mask``, or that folder itself.
        use_masks: Add image x mask as further training tiles.
        check_counts: Refuse a set whose counts differ from the published ones, otherwise warn.
        group_pattern: Regular expression that finds a tile's group (slide, tissue core) in its
            file name. Default: each tile its own group.
        skip_unreadable: Decode every file first and leave out, and list, those that do not.

    Raises:
        DatasetError: A folder is missing, empty or unknown; a mask has no image or another size; a
            group is in two splits; the counts differ and `check_counts` is set.
    """
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    if not (folder / "train" / "data").is_dir():
        raise DatasetError(
            f"No tumor tiles under {root}. Expected {FOLDER}/{{train,val,test}}/data/"
            f"{{{','.join(TILE_CLASSES)}}}/, or the --out folder of experiments/tile_slides.py. "
            "See README, Data, or pass another --data-root."
        )
    samples: list[Sample] = []
    differences: list[str] = []
    skipped: list[Path] = []
    for split in SPLITS:
        images = {
            label: list_images(path)
            for label, path in find_class_folders(folder / split / "data", TILE_CLASSES).items()
        }
        if skip_unreadable:
            readable, broken = split_readable(path for paths in images.values() for path in paths)
            skipped += broken
            kept = set(readable)
            images = {label: [p for p in paths if p in kept] for label, paths in images.items()}
        with_masks = split == "train" and use_masks
        masks = find_masks(folder / split / "mask", images) if with_masks else {}
        for label, expected in zip(TILE_CLASSES, PUBLISHED[split], strict=True):
            if len(images[label]) != expected:
                found = len(images[label])
                differences.append(f"{split}/{label}: {found} tiles, published {expected}")
        if with_masks and len(masks) != sum(PUBLISHED_MASKS):
            differences.append(f"masks: {len(masks)}, published {sum(PUBLISHED_MASKS)}")
        for label, paths in images.items():
            for path in paths:
                samples += _make_samples(folder, path, label, split, masks.get(path), group_pattern)
    is_synthetic = is_synthetic_root(root)
    if not is_synthetic:
        report_counts(differences, strict=check_counts)
    tiles = SampleSet(
        name="synthetic lymph node tiles" if is_synthetic else folder.resolve().name,
        classes=TILE_CLASSES,
        samples=tuple(samples),
        is_synthetic=is_synthetic,
        skipped=tuple(path.relative_to(folder).as_posix() for path in skipped),
    )
    tiles.require_separate_groups()
    return tiles


def _make_samples(
    folder: Path, path: Path, label: str, split: Split, mask: Path | None, pattern: str | None
) -> list[Sample]:
    content = hash_file(path)
    plain = Sample(
        sample_id=path.relative_to(folder).as_posix(),
        path=path,
        label=label,
        split=split,
        group=match_group(pattern, path.name) if pattern else content,
        sha256=content,
    )
    if mask is None:
        return [plain]
    masked = Sample(
        sample_id=f"{plain.sample_id}#masked",
        path=path,
        label=label,
        split=split,
        group=plain.group,
        sha256=content,
        mask_path=mask,
        mask_sha256=hash_file(mask),
    )
    return [plain, masked]
