"""Splits and label subsets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.folders import SPLIT_FRACTIONS
from datasets.sources.wbc_bundle import PUBLISHED_TRAIN, PUBLISHED_VAL, VAL_FRACTIONS, VAL_SEED
from datasets.splits import draw_parts, draw_subsets
from datasets.taxonomy import LABEL_PERCENTS, WBC_CLASSES


def labels_of(counts: tuple[int, ...]) -> list[str]:
    return [name for name, n in zip(WBC_CLASSES, counts, strict=True) for _ in range(n)]


def singles(number: int) -> list[str]:
    return [f"{index:05d}" for index in range(number)]


def test_bundles_val_is_divided_30_to_70_in_every_class():
    labels = labels_of(PUBLISHED_VAL)
    parts = draw_parts(labels, singles(len(labels)), VAL_FRACTIONS, VAL_SEED)
    counts = Counter(zip(labels, parts, strict=True))
    for name, total in zip(WBC_CLASSES, PUBLISHED_VAL, strict=True):
        assert counts[name, "val"] == total * 30 // 100
        assert counts[name, "test"] == total - total * 30 // 100


def test_val_draw_is_golden():
    labels = ["a"] * 10 + ["b"] * 10
    parts = draw_parts(labels, singles(20), VAL_FRACTIONS, VAL_SEED)
    assert [i for i, part in enumerate(parts) if part == "val"] == [5, 6, 8, 10, 13, 17]


def test_subset_draw_is_golden():
    labels = ["a"] * 20 + ["b"] * 20
    subsets = draw_subsets(labels, singles(40), seed=0)
    assert [i for i, percent in enumerate(subsets) if percent == 1] == [4, 24]
    assert [i for i, percent in enumerate(subsets) if percent <= 10] == [4, 10, 24, 37]


def test_subsets_have_the_bundles_counts_and_are_nested():
    labels = labels_of(PUBLISHED_TRAIN[100])
    subsets = np.array(draw_subsets(labels, singles(len(labels)), seed=3))
    for percent in LABEL_PERCENTS:
        counts = Counter(np.array(labels)[subsets <= percent])
        assert tuple(counts[name] for name in WBC_CLASSES) == PUBLISHED_TRAIN[percent]


def test_every_class_has_an_image_in_the_smallest_subset():
    labels = ["rare"] * 3 + ["common"] * 500
    subsets = draw_subsets(labels, singles(503), seed=0)
    assert Counter(label for label, p in zip(labels, subsets, strict=True) if p == 1) == {
        "rare": 1,
        "common": 5,
    }


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_not_split_across_sets(seed: int):
    rng = np.random.default_rng(seed)
    groups = [f"g{index}" for index in rng.integers(60, size=600)]
    labels = [WBC_CLASSES[index] for index in rng.integers(5, size=600)]
    parts = draw_parts(labels, groups, SPLIT_FRACTIONS, seed)
    assert all(len(set(pairs)) == 1 for pairs in by_group(groups, parts).values())
    for name, fraction in SPLIT_FRACTIONS.items():
        assert parts.count(name) / 600 == pytest.approx(fraction, abs=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_not_split_across_label_subsets(seed: int):
    rng = np.random.default_rng(seed)
    groups = [f"g{index}" for index in rng.integers(200, size=600)]
    labels = [WBC_CLASSES[index] for index in rng.integers(5, size=600)]
    subsets = draw_subsets(labels, groups, seed)
    assert all(len(set(pairs)) == 1 for pairs in by_group(groups, subsets).values())


def by_group(groups, values):
    found = {}
    for group, value in zip(groups, values, strict=True):
        found.setdefault(group, []).append(value)
    return found


def test_one_huge_group_does_not_leave_a_split_empty():
    labels = ["a"] * 103
    groups = ["huge"] * 100 + ["x", "y", "z"]
    parts = draw_parts(labels, groups, SPLIT_FRACTIONS, seed=0)
    assert set(parts) == {"train", "val", "test"}
    assert parts[0] == "train"


def test_draw_does_not_depend_on_the_order_of_the_items():
    labels = labels_of((10, 10, 10, 10, 10))
    groups = singles(50)
    forward = dict(zip(groups, draw_parts(labels, groups, SPLIT_FRACTIONS, 1), strict=True))
    backward = draw_parts(labels[::-1], groups[::-1], SPLIT_FRACTIONS, 1)
    assert forward == dict(zip(groups[::-1], backward, strict=True))


def test_another_seed_gives_another_draw():
    labels = ["a"] * 50
    draws = [draw_parts(labels, singles(50), SPLIT_FRACTIONS, seed) for seed in range(2)]
    assert draws[0] != draws[1]


def test_too_few_groups_of_a_class_are_refused():
    with pytest.raises(DatasetError, match="Class b has 2 independent group"):
        draw_parts(["a"] * 5 + ["b"] * 2, singles(7), SPLIT_FRACTIONS, seed=0)
