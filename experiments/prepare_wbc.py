"""Freeze a cell set as a manifest: splits that do not leak, and nested label subsets.

    python experiments/prepare_wbc.py --source NAME --root DIR --out data/wbc --seed 0

Reads a published set in its own layout (python experiments/list_sources.py lists them) or, with
--source folders, one folder of images a class; decodes and hashes every file; keeps the published
splits or draws train, val and test (70/10/20, stratified, at least one image a class in each),
whole groups together; draws label subsets of 1, 10, 50 and 100 % inside each other. Writes
manifest.csv and manifest.json, which the other scripts take as --data-root. Crops and arrays are
written out as PNG.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.catalogue import PreparedSource, read_source, refuse_options
from datasets.errors import DatasetError
from datasets.files import remove_unfinished
from datasets.folders import publish_folders
from datasets.grouping import group_images
from datasets.leakage import find_groups
from datasets.locks import LockedError, OwnedLock
from datasets.manifest import MANIFEST_NAME, write_manifest
from datasets.preparing import HashedSet, draw_set, hash_images, pack_images, write_made_images
from datasets.published import PublishedSet, relabel, select_classes, select_parts
from datasets.samples import SampleSet, hash_file
from datasets.sources.wbc_bundle import report_counts
from datasets.taxonomy import WBC_CLASSES, Scheme
from experiments.cli import run_script
from experiments.reporting.preparation_tables import format_counts
from experiments.split_fractions import split_fractions

DRAW_STRIDE = 1000
"""Draw K is drawn from the seed plus K times this, so that draws and seeds do not meet."""
DEFAULT_PACK_SIZE = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What is read, how it is split, and where the manifest goes."""

    root: Path
    """Folder of the set, as its card says (list_sources.py); with folders: one folder a class."""
    out: Path
    """Folder for manifest.csv and manifest.json, written images and packs."""
    source: Literal["folders"] | PreparedSource = "folders"
    """The published set, or folders: one folder of images a class."""
    seed: int = 0
    """Of the draw."""
    draw: tuple[int, ...] = (0,)
    """Which draws of the splits, e.g. 0 1 2 3 4; several go to OUT/draw-0, OUT/draw-1, ..."""
    classes: tuple[str, ...] = ()
    """Classes that are read, in the order of the label indices. Default: all of the set; with
    folders: basophil eosinophil lymphocyte monocyte neutrophil."""
    ignore_classes: tuple[str, ...] = ()
    """Classes that are left out."""
    labels_as: Literal["own"] | Scheme = "own"
    """own: the set's classes; common: the five; blast, atypical: the binary tests of aml. Images
    without a counterpart are counted and left out."""
    test_part: str | None = None
    """Published part to test on, where there are several, e.g. TestB of raabin."""
    pool_parts: bool = False
    """Draw all splits from all images, whatever splits are published."""
    labels: Path | None = None
    """bccd: labels.csv of Kaggle's dataset-master. Default: looked for under ROOT."""
    margin: float | None = None
    """bccd: margin around a box, as a fraction of its longer side. Default: 0.1."""
    val_fraction: float = 0.1
    """Share of the images for validation; of the published training part where there is one."""
    test_fraction: float = 0.2
    """Share of the images for the test, where no test is published."""
    group_pattern: str | None = None
    """Regular expression that finds an image's group (patient, smear) in its file name."""
    groups: Path | None = None
    """CSV with the columns path and group, as audit_data.py writes it."""
    find_copies: bool = True
    """Find copies of one photograph, and photographs of the same cells, by their pixels, and keep
    them in one split. Not done where --groups tells."""
    masks: bool = False
    """Add image x mask as further training images, where the set has masks."""
    pack: bool = False
    """Store the decoded, resized images, so that no training decodes them again."""
    image_size: tuple[int, ...] = ()
    """Side(s) of the packed images in pixels. Default: 256, that of the cell CNN."""
    check_counts: bool = False
    """Refuse a set whose counts differ from the published ones (default: warn)."""
    skip_unreadable: bool = False
    """Leave out, count and list images that do not decode; without it they are an error."""
    overwrite: bool = False
    """Replace an earlier manifest."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: Naming the flags.
        """
        split_fractions(self.val_fraction, self.test_fraction)
        if not self.draw or min(self.draw) < 0 or len(set(self.draw)) != len(self.draw):
            raise ValueError(f"--draw takes different numbers from 0 on, not {self.draw}.")
        if self.image_size and not self.pack:
            raise ValueError("--image-size is the side of packed images: pass --pack with it.")
        if any(size < 1 for size in self.image_size):
            raise ValueError(f"--image-size must be larger than 0, not {self.image_size}.")
        if self.groups is not None and not self.groups.is_file():
            raise ValueError(f"--groups {self.groups} is no file; expected a CSV.")

    def find_folder(self, draw: int) -> Path:
        """Return the folder of a draw's manifest."""
        return self.out if len(self.draw) == 1 else self.out / f"draw-{draw}"


def main(options: Options) -> Path:
    """Write the manifests and print what they hold; return the path of the first.

    Raises:
        DatasetError: Another process writes to the same folder.
    """
    published = read_published(options)
    report_counts(list(published.differences), strict=options.check_counts)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with OwnedLock(options.out / ".lock", options.out):
            _open_folders(options)
            return _prepare(options, published)
    except LockedError as error:
        raise DatasetError(
            f"Another run prepares a set there: {error} Wait for it, end it, or pass another --out."
        ) from error


def _open_folders(options: Options) -> None:
    """Refuse to replace an earlier set unasked; delete what a killed run left half written."""
    for folder in map(options.find_folder, options.draw):
        if (folder / MANIFEST_NAME).exists() and not options.overwrite:
            raise ValueError(
                f"{folder / MANIFEST_NAME} is there already. Pass --overwrite to replace it, or "
                "another --out."
            )
        remove_unfinished(folder)
    remove_unfinished(options.out)


def _prepare(options: Options, published: PublishedSet) -> Path:
    hashed = hash_images(
        write_made_images(published, options.out), skip_unreadable=options.skip_unreadable
    )
    groups = group_images(
        hashed.published,
        hashed.hashes,
        pattern=options.group_pattern,
        groups_path=options.groups,
        copies=_find_copies(options, hashed.published),
    )
    is_alone = len(set(groups)) == len(groups)
    if options.source == "kaggle_blood_cells" and is_alone and not options.find_copies:
        log.warning(
            "Each image is its own group, but this set holds many copies of each photograph: "
            "validation will leak. Leave out --no-find-copies."
        )
    drawn = [draw_cells(hashed, groups, options, draw) for draw in options.draw]
    if options.pack:
        for size in options.image_size or (DEFAULT_PACK_SIZE,):
            print(f"Packed to {pack_images(options.out, drawn, size)}")
    paths = []
    for draw, cells in zip(options.draw, drawn, strict=True):
        paths.append(_write(options, hashed, cells, draw))
        print(f"{format_counts(cells)}\nWritten to {paths[-1]}")
    return paths[0]


def _find_copies(options: Options, published: PublishedSet) -> list[str] | None:
    if not options.find_copies or options.groups is not None:
        return None
    return find_groups([i.path for i in published.images if i.path is not None], level="scene")


def read_published(options: Options) -> PublishedSet:
    """Return the images that the options ask for, before anything is decoded."""
    own_options = {"labels": options.labels, "margin": options.margin}
    if options.source == "folders":
        refuse_options("folders", [key for key, value in own_options.items() if value is not None])
        classes = options.classes or WBC_CLASSES
        published = publish_folders(options.root, classes, options.ignore_classes)
    else:
        published = read_source(options.source, options.root, **own_options)
    published = select_parts(published, options.test_part, pool=options.pool_parts)
    if options.labels_as != "own":
        published = relabel(published, options.source, options.labels_as)
    if options.source != "folders":
        published = select_classes(published, options.classes, options.ignore_classes)
    if options.masks and not any(image.mask_path for image in published.images):
        raise ValueError(f"--masks: {published.name} has no masks.")
    return published


def draw_cells(hashed: HashedSet, groups: Sequence[str], options: Options, draw: int) -> SampleSet:
    """Return draw number `draw` of the set."""
    fractions = split_fractions(options.val_fraction, options.test_fraction)
    seed = options.seed + DRAW_STRIDE * draw
    cells = draw_set(hashed, groups, fractions, seed, use_masks=options.masks)
    cells.require_all_classes()
    return cells


def _write(options: Options, hashed: HashedSet, cells: SampleSet, draw: int) -> Path:
    info = {
        "name": cells.name,
        "classes": list(cells.classes),
        "source": options.source,
        "labels_as": options.labels_as,
        "seed": options.seed,
        "draw": draw,
        "group_pattern": options.group_pattern,
        "groups_sha256": hash_file(options.groups) if options.groups else None,
        "synthetic": cells.is_synthetic,
        "skipped": list(cells.skipped),
        "left_out": dict(cells.left_out),
        "has_published_test": cells.has_published_test,
        "pack_dir": "." if len(options.draw) == 1 else "..",
    }
    subtypes = {image.image_id: image.subtype for image in hashed.published.images}
    return write_manifest(
        options.find_folder(draw), cells.samples, hashed.published.root, info, subtypes, options.out
    )


if __name__ == "__main__":
    run_script(main, Options, __doc__)
