"""Splits drawn by a published protocol, once, and kept as a manifest in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.grouping import group_images
from datasets.leakage import Level, find_groups
from datasets.locks import OwnedLock
from datasets.manifest import MANIFEST_NAME, read_manifest, write_manifest
from datasets.preparing import HashedSet, draw_set, hash_images
from datasets.published import PublishedSet
from datasets.samples import SampleSet
from datasets.splits import draw_parts
from datasets.taxonomy import Split

_FORMAT: Final = 1


@dataclass(frozen=True)
class Protocol:
    """How the splits of a published set are drawn; parts that it publishes as splits are kept.

    Attributes:
        val_fraction: Share of each class, of what is not published as test.
        test_fraction: Share of each class, where no test is published.
        seed: Of the draw.
        copies: What must stay together: copies of a photograph, also photographs of the same
            scene, or (None) only what the publication groups.
        is_leaky: Draw single images all the same, as others did, to show what leakage does. The
            samples keep their groups.
        num_folds: If above 0, the test is one of so many folds, and `test_fraction` of no use.
        fold: Which of them, from 0.
    """

    val_fraction: float
    test_fraction: float
    seed: int = 0
    copies: Level | None = "photograph"
    is_leaky: bool = False
    num_folds: int = 0
    fold: int = 0


def open_protocol(
    published: PublishedSet,
    protocol: Protocol,
    cache_root: Path,
    *,
    skip_unreadable: bool = False,
) -> SampleSet:
    """Return the set with the splits of `protocol`.

    Images are decoded, hashed, searched for copies and divided at the first call; later ones read
    the manifest. It lies under a key of the files' names, sizes and times, so that it cannot be
    taken for that of another set.

    Args:
        published: With the parts that are to be kept as splits, see `published.select_parts`.
        protocol: How to draw.
        cache_root: Folder of what can be made again.
        skip_unreadable: Leave out, and list, files that do not decode.

    Raises:
        UnreadableImageError: A file does not decode.
        DatasetError: A class has too few images or groups.
    """
    labels = [[image.label, image.part, image.group] for image in published.images]
    content = (_list_files(published), published.name, published.classes, labels)
    key = _hash(_FORMAT, content, asdict(protocol), skip_unreadable)
    folder = cache_root / "protocols" / key[:16]
    if (folder / MANIFEST_NAME).is_file():  # Written last. The folder may be read-only by now.
        return read_manifest(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with OwnedLock(folder / ".lock", folder, waits=True):
        if not (folder / MANIFEST_NAME).is_file():
            hashed = hash_images(published, skip_unreadable=skip_unreadable)
            copies = _find_copies(hashed.published, protocol.copies, cache_root)
            groups = group_images(hashed.published, hashed.hashes, copies=copies)
            _write(folder, hashed, _draw(hashed, groups, protocol))
        return read_manifest(folder)


def _draw(hashed: HashedSet, groups: Sequence[str], protocol: Protocol) -> SampleSet:
    fractions: dict[Split, float] = {
        "train": 1 - protocol.val_fraction - protocol.test_fraction,
        "val": protocol.val_fraction,
        "test": protocol.test_fraction,
    }
    ids = [image.image_id for image in hashed.published.images]
    kept_together = ids if protocol.is_leaky else groups
    if protocol.num_folds:
        hashed = _part_by_fold(hashed, kept_together, protocol)
    drawn = draw_set(hashed, kept_together, fractions, protocol.seed)
    group_of = dict(zip(ids, groups, strict=True))
    samples = tuple(replace(s, group=group_of[s.sample_id]) for s in drawn.samples)
    drawn = replace(drawn, samples=samples, has_published_test=bool(hashed.published.parts))
    drawn.require_all_classes()
    if not protocol.is_leaky:
        drawn.require_separate_groups()
    return drawn


def _part_by_fold(hashed: HashedSet, groups: Sequence[str], protocol: Protocol) -> HashedSet:
    """Return the set with one fold as its test part and the others as its training part."""
    if not 0 <= protocol.fold < protocol.num_folds:
        raise DatasetError(f"Fold {protocol.fold} is none of 0 to {protocol.num_folds - 1}.")
    names = [str(fold) for fold in range(protocol.num_folds)]
    labels = [image.label for image in hashed.published.images]
    shares = dict.fromkeys(names, 1 / protocol.num_folds)
    folds = draw_parts(labels, groups, shares, protocol.seed)
    images = tuple(
        replace(image, part="test" if int(fold) == protocol.fold else "train")
        for image, fold in zip(hashed.published.images, folds, strict=True)
    )
    parts: dict[str, Split] = {"train": "train", "test": "test"}
    return replace(hashed, published=replace(hashed.published, images=images, parts=parts))


def _find_copies(
    published: PublishedSet, level: Level | None, cache_root: Path
) -> list[str] | None:
    """Return the group of each image; the search, which takes minutes, is done once a set."""
    if level is None:
        return None
    files = [image.path for image in published.images if image.path is not None]
    path = cache_root / "copies" / f"{_hash(_FORMAT, level, _list_files(published))[:16]}.json"
    if not path.is_file():
        groups = find_groups(files, level=level)
        with write_whole(path) as temporary:
            temporary.write_text(json.dumps(groups))
    found: list[str] = json.loads(path.read_text())
    return found


def _write(folder: Path, hashed: HashedSet, drawn: SampleSet) -> None:
    info = {
        "name": drawn.name,
        "classes": list(drawn.classes),
        "synthetic": drawn.is_synthetic,
        "skipped": list(drawn.skipped),
        "left_out": dict(drawn.left_out),
        "has_published_test": drawn.has_published_test,
    }
    subtypes = {image.image_id: image.subtype for image in hashed.published.images}
    write_manifest(folder, drawn.samples, hashed.published.root, info, subtypes)


def _list_files(published: PublishedSet) -> list[list[str | int]]:
    """Return name, size and time of change of each image file.

    Raises:
        DatasetError: An image is no file.
    """
    rows: list[list[str | int]] = [[str(published.root.resolve())]]
    for image in published.images:
        if image.path is None:
            raise DatasetError(
                f"The images of {published.name} are no files of their own. Write them with "
                "experiments/prepare_wbc.py and pass its folder as --data-root."
            )
        status = image.path.stat()
        rows.append([image.image_id, status.st_size, status.st_mtime_ns])
    return rows


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
