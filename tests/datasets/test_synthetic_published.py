"""Synthetic sets in published layouts: read by their readers, and as awkward as the real ones."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.catalogue import read_source
from datasets.errors import DatasetError
from datasets.grouping import read_groups
from datasets.images import read_image
from datasets.leakage import find_groups
from datasets.leakage.agreement import score_pairs
from datasets.preparing import draw_set, hash_images
from datasets.published import PublishedSet, select_parts
from datasets.sources.aml import PUBLISHED
from datasets.splits import assign_splits
from datasets.synthetic import (
    SYNTHETIC_SOURCES,
    PublishedSizes,
    draw_published_sheet,
    ensure_synthetic_published,
    is_synthetic_root,
    published,
    write_synthetic_published,
)
from datasets.synthetic.layouts import CELL_LAYOUTS
from datasets.synthetic.published import TRUTH_NAME

SMALL = {
    "raabin": PublishedSizes(scale=0.15, width=64),
    "aml": PublishedSizes(scale=0.1, width=48),
    "pbc": PublishedSizes(scale=0.1, width=48),
    # At its own size, since the audit looks at the pixels of this one.
    "kaggle_blood_cells": PublishedSizes(scale=0.15),
}
TINY = PublishedSizes(scale=0.001, width=32)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("published")
    for source, sizes in SMALL.items():
        write_synthetic_published(folder / source, source, sizes)
    return {source: folder / source for source in SMALL}


def paths_of(images: PublishedSet, part: str | None = None) -> list[Path]:
    return [i.path for i in images.images if i.path and (part is None or i.part == part)]


@pytest.mark.parametrize("source", SYNTHETIC_SOURCES)
def test_the_reader_finds_nothing_odd_but_the_counts(source: str, roots: dict[str, Path]):
    images = read_source(source, roots[source])
    assert min(images.count().values()) >= 3
    assert images.differences
    for line in images.differences:
        assert re.search(r": \d+ files, published \d+$", line), line


@pytest.mark.parametrize("source", SYNTHETIC_SOURCES)
def test_a_set_drawn_from_it_is_stamped_as_synthetic(source: str, roots: dict[str, Path]):
    images = select_parts(read_source(source, roots[source]), None, pool=False)
    assert is_synthetic_root(images.root)
    groups = [image.image_id for image in images.images]
    drawn = draw_set(hash_images(images), groups, {"train": 0.6, "val": 0.2, "test": 0.2}, seed=0)
    assert drawn.is_synthetic
    drawn.require_all_classes()


@pytest.mark.parametrize("source", SYNTHETIC_SOURCES)
def test_the_same_seed_gives_the_same_files_and_another_seed_others(source: str, tmp_path: Path):
    others = PublishedSizes(scale=TINY.scale, width=TINY.width, seed=1)
    for name, sizes in (("a", TINY), ("b", TINY), ("c", others)):
        write_synthetic_published(tmp_path / name, source, sizes)
    files = {
        name: {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file()
        }
        for name in "abc"
    }
    assert files["a"] == files["b"]
    assert len(files["a"]) > 20
    pictures = [set(files[name].values()) for name in "ac"]
    assert not pictures[0] & pictures[1]


@pytest.mark.parametrize("source", ["raabin", "aml", "pbc"])
def test_every_class_of_a_full_set_reaches_every_split(source: str):
    labels = [
        folder.folder for folder in CELL_LAYOUTS[source].folders for _ in range(folder.number)
    ]
    groups = [str(index) for index in range(len(labels))]
    for train, val, test in ((0.75, 0.15, 0.10), (0.8, 0.1, 0.1)):
        splits = assign_splits(
            labels, groups, [None] * len(labels), {"train": train, "val": val, "test": test}, 0
        )
        reached = set(zip(labels, splits, strict=True))
        assert len(reached) == 3 * len(set(labels))
    assert min(labels.count(label) for label in set(labels)) >= 9


def test_raabin_testb_holds_two_classes_from_another_microscope(roots: dict[str, Path]):
    images = read_source("raabin", roots["raabin"])
    assert all(images.count(part)["monocyte"] for part in ("Train", "TestA"))
    present = {label for label, number in images.count("TestB").items() if number}
    assert present == {"lymphocyte", "neutrophil"}

    def measure_blueness(part: str) -> list[float]:
        """Blue over red of the smear in the picture's corners, where no white cell lies."""
        pixels = [np.asarray(read_image(path), float) for path in paths_of(images, part)]
        return [float(p[:8, :8, 2].mean() / p[:8, :8, 0].mean()) for p in pixels]

    train, test_a, test_b = (measure_blueness(part) for part in ("Train", "TestA", "TestB"))
    assert np.median(test_a) == pytest.approx(np.median(train), abs=0.1)
    assert np.median(test_b) > np.quantile(train, 0.95)


def test_aml_is_strongly_uneven_in_the_order_of_the_real_set():
    drawn = {folder.folder: folder.number for folder in CELL_LAYOUTS["aml"].folders}
    assert drawn.keys() == PUBLISHED.keys()
    assert max(drawn.values()) >= 20 * min(drawn.values())
    commonest = sorted(PUBLISHED, key=lambda code: -PUBLISHED[code])[:6]
    assert sorted(drawn, key=lambda code: -drawn[code])[:6] == commonest


def test_pbc_names_tell_every_subtype(roots: dict[str, Path]):
    images = read_source("pbc", roots["pbc"]).images
    subtypes = {
        label: {i.subtype for i in images if i.label == label} for label in ("ig", "neutrophil")
    }
    assert subtypes["ig"] == {
        "immature granulocyte", "metamyelocyte", "myelocyte", "promyelocyte",
    }  # fmt: skip
    assert subtypes["neutrophil"] == {"band neutrophil", "segmented neutrophil", "neutrophil"}


def test_kaggle_parts_share_no_photograph_and_names_do_not_tell_it(roots: dict[str, Path]):
    images = read_source("kaggle_blood_cells", roots["kaggle_blood_cells"])
    truth = read_truth(roots["kaggle_blood_cells"])
    by_part = {
        part: {truth[i.image_id] for i in images.images if i.part == part} for part in images.parts
    }
    assert not by_part["TRAIN"] & by_part["TEST"]
    assert by_part["TEST_SIMPLE"] == by_part["TEST"]
    assert len([i for i in images.images if i.part == "TEST_SIMPLE"]) == len(by_part["TEST"])
    assert len([i for i in images.images if i.part == "TRAIN"]) > 2 * len(by_part["TRAIN"])
    for image in images.images:
        assert re.fullmatch(r"_\d+_\d+\.jpeg", image.path.name)
        assert read_image(image.path).size == (320, 240)


def test_the_audit_brings_the_copies_of_a_drawn_photograph_together(roots: dict[str, Path]):
    images = read_source("kaggle_blood_cells", roots["kaggle_blood_cells"])
    truth = read_truth(roots["kaggle_blood_cells"])
    found = find_groups(paths_of(images), level="photograph")
    precision, recall = score_pairs(found, [truth[image.image_id] for image in images.images])
    assert precision >= 0.9
    assert recall >= 0.9


def test_the_list_of_photographs_serves_as_groups(roots: dict[str, Path]):
    root = roots["kaggle_blood_cells"]
    ids = [image.image_id for image in read_source("kaggle_blood_cells", root).images]
    assert read_groups(root / TRUTH_NAME, ids) == [read_truth(root)[name] for name in ids]


def read_truth(root: Path) -> dict[str, str]:
    with (root / TRUTH_NAME).open(newline="") as file:
        return {row["path"]: row["group"] for row in csv.DictReader(file)}


def test_a_set_is_drawn_once_and_again_only_at_another_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[tuple[str, float]] = []

    def write(root: Path, source: str, sizes: PublishedSizes) -> None:
        drawn.append((source, sizes.scale))
        write_tiny(root, source, sizes)

    monkeypatch.setattr(published, "write_synthetic_published", write)
    first = ensure_synthetic_published(tmp_path, "raabin")
    assert ensure_synthetic_published(tmp_path, "raabin") == first
    assert drawn == [("raabin", 1)]
    assert is_synthetic_root(first)
    assert ensure_synthetic_published(tmp_path, "raabin", scale=2) != first
    assert ensure_synthetic_published(tmp_path, "pbc").name.startswith("synthetic-pbc-")
    assert drawn == [("raabin", 1), ("raabin", 2), ("pbc", 1)]


def write_tiny(root: Path, source: str, sizes: PublishedSizes) -> None:
    write_synthetic_published(root, source, replace(sizes, scale=TINY.scale, width=TINY.width))


def test_a_drawing_that_fails_leaves_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(root: Path, source: str, sizes: PublishedSizes) -> None:
        (root / "Train").mkdir(parents=True)
        raise OSError("disk full")

    monkeypatch.setattr(published, "write_synthetic_published", fail)
    with pytest.raises(OSError, match="disk full"):
        ensure_synthetic_published(tmp_path, "aml")
    assert not list(tmp_path.glob("synthetic-*[0-9a-f]"))
    monkeypatch.setattr(published, "write_synthetic_published", write_tiny)
    redrawn = ensure_synthetic_published(tmp_path, "aml")
    assert not (redrawn / "Train").exists()


def test_sheet_has_a_row_a_folder_or_a_kaggle_class():
    sheet = draw_published_sheet("pbc", 2, seed=0)
    assert sheet.size == (2 * 120, 13 * 121)
    copies = draw_published_sheet("kaggle_blood_cells", 2, seed=0)
    assert copies.size == (2 * 160, 4 * 120)
    cells = np.asarray(sheet.crop((0, 0, 120, 121)), int)
    assert cells.std() > 10


def test_pictures_of_a_sheet_are_those_of_the_set(tmp_path: Path):
    write_synthetic_published(tmp_path, "aml", PublishedSizes(scale=0.001))
    sheet = draw_published_sheet("aml", 3, seed=0)
    with Image.open(tmp_path / "AML-Cytomorphology_LMU/BAS/BAS_0003.tiff") as image:
        assert image.size == (112, 112)
        assert np.array_equal(np.asarray(image), np.asarray(sheet.crop((224, 0, 336, 112))))


def test_what_cannot_be_drawn_is_refused_by_name(tmp_path: Path):
    with pytest.raises(DatasetError, match="'bccd'.*raabin, aml, pbc, kaggle_blood_cells"):
        ensure_synthetic_published(tmp_path, "bccd")
    with pytest.raises(DatasetError, match="above 0"):
        ensure_synthetic_published(tmp_path, "raabin", scale=0)
    with pytest.raises(DatasetError, match="at least 32 pixels"):
        PublishedSizes(width=8)
