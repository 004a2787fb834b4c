"""Splits by protocol: shares, folds, published parts, leaks on purpose, and the cache."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import protocols
from datasets.errors import DatasetError
from datasets.manifest import MANIFEST_NAME
from datasets.protocols import Protocol, open_protocol
from datasets.published import PublishedImage, PublishedSet

PROTOCOL = Protocol(val_fraction=0.15, test_fraction=0.1, copies=None)


@pytest.fixture
def published(tmp_path: Path) -> PublishedSet:
    """Forty images of two classes, two of each photograph."""
    generator = np.random.default_rng(0)
    images = []
    for index in range(40):
        name = f"{'ab'[index % 2]}/{index}.png"
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
        images.append(PublishedImage(name, "ab"[index % 2], path, group=f"photo-{index // 4}"))
    return PublishedSet("toy", ("a", "b"), tuple(images), tmp_path / "images")


def groups_of(cells, split: str) -> set[str]:
    return {sample.group for sample in cells.of_split(split)}


def test_shares_are_those_of_the_protocol_and_groups_stay_together(published, tmp_path):
    cells = open_protocol(published, PROTOCOL, tmp_path / "cache")
    assert Counter(s.split for s in cells.samples) == {"train": 28, "val": 8, "test": 4}
    cells.require_separate_groups()


def test_folds_test_every_image_once(published, tmp_path):
    tested = []
    for fold in range(5):
        protocol = replace(PROTOCOL, num_folds=5, fold=fold)
        cells = open_protocol(published, protocol, tmp_path / "cache")
        cells.require_separate_groups()
        assert not groups_of(cells, "test") & (groups_of(cells, "train") | groups_of(cells, "val"))
        assert cells.of_split("val")
        tested += [sample.sample_id for sample in cells.of_split("test")]
    assert sorted(tested) == sorted(image.image_id for image in published.images)


def test_a_fold_that_is_none_is_refused(published, tmp_path):
    with pytest.raises(DatasetError, match="Fold 5 is none of 0 to 4"):
        open_protocol(published, replace(PROTOCOL, num_folds=5, fold=5), tmp_path / "cache")


def test_a_leaky_draw_divides_groups_and_still_names_them(published, tmp_path):
    cells = open_protocol(published, replace(PROTOCOL, is_leaky=True), tmp_path / "cache")
    assert groups_of(cells, "test") & groups_of(cells, "train")
    assert len({sample.group for sample in cells.samples}) == 10
    with pytest.raises(DatasetError, match="is in two splits"):
        cells.require_separate_groups()


def test_published_parts_are_kept(published, tmp_path):
    images = tuple(
        replace(image, part="TEST" if index >= 28 else "TRAIN")
        for index, image in enumerate(published.images)
    )
    parted = replace(published, images=images, parts={"TRAIN": "train", "TEST": "test"})
    cells = open_protocol(parted, PROTOCOL, tmp_path / "cache")
    assert len(cells.of_split("test")) == 12
    assert cells.of_split("val")
    assert cells.has_published_test


def test_the_second_call_reads_the_manifest(published, tmp_path, monkeypatch):
    first = open_protocol(published, PROTOCOL, tmp_path / "cache")
    monkeypatch.setattr(protocols, "hash_images", None)
    monkeypatch.setattr(protocols, "OwnedLock", None)  # Which a read-only cache does not allow.
    assert open_protocol(published, PROTOCOL, tmp_path / "cache") == first


def test_a_changed_image_is_prepared_anew(published, tmp_path):
    open_protocol(published, PROTOCOL, tmp_path / "cache")
    Image.new("RGB", (9, 9)).save(published.images[0].path)
    second = open_protocol(published, PROTOCOL, tmp_path / "cache")
    assert len(list((tmp_path / "cache/protocols").glob(f"*/{MANIFEST_NAME}"))) == 2
    assert second.fingerprint


def test_copies_are_searched_once_for_all_draws(published, tmp_path, monkeypatch):
    calls = []

    def find(paths, *, level):
        calls.append(level)
        return [f"copy-{index // 8}" for index in range(len(paths))]

    monkeypatch.setattr(protocols, "find_groups", find)
    for seed in (0, 1):
        protocol = replace(PROTOCOL, seed=seed, copies="photograph")
        cells = open_protocol(published, protocol, tmp_path / "cache")
        assert len({sample.group for sample in cells.samples}) == 5
    assert calls == ["photograph"]


def test_images_that_are_no_files_are_refused(published, tmp_path):
    made = replace(published.images[0], path=None, make=lambda: Image.new("RGB", (8, 8)))
    with pytest.raises(DatasetError, match=r"no files of their own.*prepare_wbc.py"):
        open_protocol(replace(published, images=(made,)), PROTOCOL, tmp_path / "cache")
