"""Splits and nested label subsets: stratified by class, whole groups together, from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from datasets.errors import DatasetError
from datasets.taxonomy import LABEL_PERCENTS, LabelPercent, Split

_ROUNDING_SLACK: Final = 1e-9
Part = TypeVar("Part", bound=str)


def draw_parts(
    labels: Sequence[str],
    groups: Sequence[str],
    fractions: Mapping[Part, float],
    seed: int,
) -> list[Part]:
    """Return the name of the part that each item falls into.

    Each class is divided by `fractions` (rounded down to whole images, the first part takes the
    rest) with at least one image a part. Groups are dealt largest first, in an order shuffled by
    `seed`, each to the part that still lacks most of the group's classes; so a group is never
    divided, and with groups of one image the counts are exact.

    Args:
        labels: Class of each item.
        groups: Group of each item.
        fractions: Share of each part, in [0, 1], summing to 1.
        seed: Of the shuffle. Items are ordered by group name first, so their order is irrelevant.

    Raises:
        DatasetError: A class has fewer groups than there are parts.
    """
    classes, label_index = np.unique(np.asarray(labels), return_inverse=True)
    group_names, group_index = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.zeros((len(group_names), len(classes)), dtype=np.int64)
    np.add.at(sizes, (group_index, label_index), 1)
    _require_enough_groups(classes, (sizes > 0).sum(axis=0), tuple(fractions))

    totals = sizes.sum(axis=0)
    wanted = _count_wanted(totals, list(fractions.values()))
    order = np.random.default_rng(seed).permutation(len(group_names))
    order = order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]
    missing = wanted.astype(np.float64)
    part_of_group = np.zeros(len(group_names), dtype=np.int64)
    for group in order:
        part_of_group[group] = _neediest_part(sizes[group], missing, wanted)
        missing[part_of_group[group]] -= sizes[group]
    _require_all_classes(classes, sizes, part_of_group, tuple(fractions))
    names = tuple(fractions)
    return [names[part_of_group[group]] for group in group_index]


def draw_subsets(labels: Sequence[str], groups: Sequence[str], seed: int) -> list[LabelPercent]:
    """Return, for each training item, the smallest label percent whose subset holds it.

    Each subset is drawn inside the next larger one, so they are nested: 1 in 10 in 50 in 100.
    """
    smallest: list[LabelPercent] = [100] * len(labels)
    inside = list(range(len(labels)))
    totals = {name: list(labels).count(name) for name in set(labels)}
    for percent in sorted(LABEL_PERCENTS, reverse=True)[1:]:
        inside = _draw_subset(labels, groups, inside, totals, percent, seed)
        for item in inside:
            smallest[item] = percent
    return smallest


def assign_splits(
    labels: Sequence[str],
    groups: Sequence[str],
    published: Sequence[Split | None],
    fractions: Mapping[Split, float],
    seed: int,
) -> list[Split | None]:
    """Return the split of each item, keeping those that are published.

    Without published splits all three are drawn by `fractions`. With them, a group that stands in
    test leaves val and train, one that stands in val leaves train (None: left out); and where no
    val is published it is drawn from train, the fraction for val of each class.

    Args:
        labels: Class of each item.
        groups: Group of each item.
        published: Split of each item, for all items or for none.
        fractions: Share of each split, in [0, 1], summing to 1.
        seed: Of the draw.

    Raises:
        DatasetError: As `draw_parts`.
    """
    if not any(published):
        return list(draw_parts(labels, groups, fractions, seed))
    in_test = {group for group, split in zip(groups, published, strict=True) if split == "test"}
    in_val = {group for group, split in zip(groups, published, strict=True) if split == "val"}
    assigned = list(published)
    for index, (group, split) in enumerate(zip(groups, published, strict=True)):
        if (split != "test" and group in in_test) or (split == "train" and group in in_val):
            assigned[index] = None
    if in_val:
        return assigned
    training = [index for index, split in enumerate(assigned) if split == "train"]
    shares: dict[Split, float] = {"train": 1 - fractions["val"], "val": fractions["val"]}
    drawn = draw_parts([labels[i] for i in training], [groups[i] for i in training], shares, seed)
    for index, split in zip(training, drawn, strict=True):
        assigned[index] = split
    return assigned


def _draw_subset(
    labels: Sequence[str],
    groups: Sequence[str],
    inside: Sequence[int],
    totals: Mapping[str, int],
    percent: int,
    seed: int,
) -> list[int]:
    """Return the items of `inside` that make `percent` of each class's total, at least one."""
    missing = {name: max(1, total * percent // 100) for name, total in totals.items()}
    members: dict[str, list[int]] = {}
    for item in inside:
        members.setdefault(groups[item], []).append(item)
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names))
    chosen: list[int] = []
    by_size = sorted((names[index] for index in order), key=lambda name: len(members[name]))
    for name in by_size:
        items = members[name]
        if any(missing[labels[item]] > 0 for item in items):
            chosen += items
            for item in items:
                missing[labels[item]] -= 1
    return sorted(chosen)


def _neediest_part(
    group_sizes: NDArray[np.int64], missing: NDArray[np.float64], wanted: NDArray[np.int64]
) -> int:
    """Return the part that lacks the largest share of the group's classes; ties: most images."""
    share = (group_sizes * missing / wanted).sum(axis=1)
    images = (missing * (group_sizes > 0)).sum(axis=1)
    neediest = np.flatnonzero(share >= share.max() - _ROUNDING_SLACK)
    return int(neediest[np.argmax(images[neediest])])


def _count_wanted(totals: NDArray[np.int64], fractions: Sequence[float]) -> NDArray[np.int64]:
    """Return images wanted as (parts, classes); the first part takes what rounding leaves."""
    shares = np.outer(np.asarray(fractions), totals) + _ROUNDING_SLACK
    wanted = np.maximum(1, np.floor(shares)).astype(np.int64)
    wanted[0] = totals - wanted[1:].sum(axis=0)
    return wanted


def _require_enough_groups(
    classes: NDArray[np.str_], num_groups: NDArray[np.int64], parts: Sequence[str]
) -> None:
    for name, number in zip(classes, num_groups, strict=True):
        if number < len(parts):
            raise DatasetError(
                f"Class {name} has {number} independent group(s) of images; to stand in each of "
                f"{', '.join(parts)} it needs at least {len(parts)}. Add images or leave the class "
                "out with --ignore-classes."
            )


def _require_all_classes(
    classes: NDArray[np.str_],
    sizes: NDArray[np.int64],
    part_of_group: NDArray[np.int64],
    parts: Sequence[str],
) -> None:
    for index, part in enumerate(parts):
        in_part = sizes[part_of_group == index].sum(axis=0)
        empty = [str(name) for name, n in zip(classes, in_part, strict=True) if n == 0]
        if empty:
            raise DatasetError(
                f"The groups are too large to give {part} an image of {', '.join(empty)}. Another "
                "--seed may do, or finer groups."
            )
