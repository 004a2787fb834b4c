"""Images with their splits and groups: the leaks among them, and how many are independent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LeakKind = Literal["split", "subset", "declared group"]


@dataclass(frozen=True)
class AuditedImage:
    """One row of the audit.

    Attributes:
        path: The image file, or the tile as `reading.place_tile` names it.
        source: The manifest or folder that lists it.
        label: Class name, empty without one.
        split: train, val, test, or empty where the source does not say.
        subset: Smallest label percent whose subset holds a training image; None without subsets.
        declared_group: Group that the manifest states, empty without one.
        group: Group found by pixels.
    """

    path: Path
    source: Path
    label: str
    split: str
    subset: int | None = None
    declared_group: str = ""
    group: str = ""


@dataclass(frozen=True)
class Leak:
    """A group on both sides of a border that it must not cross.

    Attributes:
        kind: ``split``: copies are in two splits; ``subset``: on both sides of a nested label
            subset; ``declared group``: the manifest's own group is in two splits.
        group: Its name.
        sides: Number of images on each side.
        examples: A file on each side.
    """

    kind: LeakKind
    group: str
    sides: dict[str, int]
    examples: dict[str, Path]


@dataclass(frozen=True)
class Independence:
    """How many independent images a split, or a class of it, holds.

    Attributes:
        split: Name, or empty.
        label: Class, or ``all``.
        num_images: Files.
        num_groups: Groups among them.
        effective_number: Kish's effective sample size, (sum n)^2 / sum n^2 over the groups' sizes:
            as many images of equal weight tell as much as these, some of which have more copies.
        largest_group: Size of the largest.
    """

    split: str
    label: str
    num_images: int
    num_groups: int
    effective_number: float
    largest_group: int


def find_leaks(images: Sequence[AuditedImage]) -> list[Leak]:
    """Return the leaks, by kind and then largest first.

    Sources are checked together, so train and test may come as two manifests. Sources that list
    the same file are draws of one set and are each checked alone.
    """
    leaks: list[Leak] = []
    for pool in _pool_sources(images):
        with_split = [image for image in pool if image.split]
        leaks += _find("split", ((i, i.group, i.split) for i in with_split))
        declared = ((i, f"{i.source}: {i.declared_group}", i.split) for i in with_split)
        leaks += _find("declared group", (row for row in declared if row[0].declared_group))
        for source in sorted({image.source for image in pool}):
            leaks += _find(
                "subset",
                (
                    (i, i.group, f"{i.subset} %")
                    for i in pool
                    if i.source == source and i.split == "train" and i.subset is not None
                ),
            )
    return leaks


def count_independent(images: Sequence[AuditedImage]) -> list[Independence]:
    """Return a row for each class of each split, and one for each split as a whole."""
    by_part: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for image in {image.path: image for image in images}.values():
        by_part[(image.split, image.label)][image.group] += 1
        by_part[(image.split, "all")][image.group] += 1
    order = {"train": 0, "val": 1, "test": 2}
    keys = sorted(by_part, key=lambda key: (order.get(key[0], 3), key[0], key[1] == "all", key[1]))
    return [_count(*key, by_part[key]) for key in keys]


def find_mixed_labels(images: Sequence[AuditedImage]) -> dict[str, list[str]]:
    """Return the groups whose copies bear different labels, with those labels."""
    labels: dict[str, set[str]] = defaultdict(set)
    for image in images:
        if image.label:
            labels[image.group].add(image.label)
    return {name: sorted(found) for name, found in sorted(labels.items()) if len(found) > 1}


def _pool_sources(images: Sequence[AuditedImage]) -> list[list[AuditedImage]]:
    by_source: dict[Path, list[AuditedImage]] = defaultdict(list)
    for image in images:
        by_source[image.source].append(image)
    listed = Counter(path for rows in by_source.values() for path in {row.path for row in rows})
    is_shared = any(number > 1 for number in listed.values())
    return list(by_source.values()) if is_shared else [list(images)]


def _find(kind: LeakKind, rows: Iterable[tuple[AuditedImage, str, str]]) -> list[Leak]:
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    examples: dict[str, dict[str, Path]] = defaultdict(dict)
    for image, group, side in rows:
        sides[group][side] += 1
        examples[group].setdefault(side, image.path)
    leaks = [
        Leak(kind, group, dict(sorted(counts.items())), examples[group])
        for group, counts in sides.items()
        if len(counts) > 1
    ]
    return sorted(leaks, key=lambda leak: (-sum(leak.sides.values()), leak.group))


def _count(split: str, label: str, sizes: Counter[str]) -> Independence:
    total = sizes.total()
    return Independence(
        split=split,
        label=label,
        num_images=total,
        num_groups=len(sizes),
        effective_number=total**2 / sum(size**2 for size in sizes.values()),
        largest_group=max(sizes.values()),
    )
