"""Published sets that lie as image files, in fixtures of their exact layout and in real parts."""

from __future__ import annotations

import os
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.cell_masks import BACKGROUND, CYTOPLASM, NUCLEUS, read_regions
from datasets.errors import DatasetError
from datasets.images import read_image
from datasets.published import (
    PublishedSet,
    compare_counts,
    relabel,
    select_classes,
    select_parts,
)
from datasets.sources import (
    aml,
    kaggle_blood_cells,
    pbc,
    raabin,
    segmentation_wbc,
    wbc_bundle,
)
from datasets.sources.aml import read_aml
from datasets.sources.kaggle_blood_cells import (
    read_kaggle_blood_cells,
    read_kaggle_photographs,
    read_photograph_labels,
)
from datasets.sources.pbc import read_pbc
from datasets.sources.raabin import read_raabin
from datasets.sources.segmentation_wbc import read_segmentation_wbc
from datasets.taxonomy import WBC_CLASSES

_colour = count()


def draw(path: Path, size: tuple[int, int] = (12, 10)) -> Path:
    """Write an image unlike all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = next(_colour)
    Image.new("RGB", size, (number % 256, number // 256 % 256, 77)).save(path)
    return path


@pytest.fixture
def real() -> Path:
    root = os.environ.get("LEUKOFUSE_REAL_DATA")
    if not root:
        pytest.skip("LEUKOFUSE_REAL_DATA is not set: no real images at hand")
    return Path(root)


@pytest.fixture
def pbc_root(tmp_path: Path) -> Path:
    folder = tmp_path / "PBC_dataset_normal_DIB"
    for prefix, (label, _) in pbc.SUBTYPES.items():
        for number in (1007, 20385):
            draw(folder / label / f"{prefix}_{number}.jpg")
    (folder / "neutrophil" / ".DS_169665.jpg").write_bytes(b"no image")
    return tmp_path


@pytest.fixture
def raabin_root(tmp_path: Path) -> Path:
    for part in ("Train", "TestA"):
        for name in WBC_CLASSES:
            for number in range(4):
                draw(tmp_path / part / name.capitalize() / f"20190514_16302{number}_0.jpg")
    for name in ("Lymphocyte", "Neutrophil"):
        draw(tmp_path / "Test-B" / name / "20190519_1.jpg")
    return tmp_path


@pytest.fixture
def kaggle_root(tmp_path: Path) -> Path:
    images = tmp_path / "dataset2-master" / "dataset2-master" / "images"
    for part, number in (("TRAIN", 5), ("TEST", 2), ("TEST_SIMPLE", 1)):
        for name in kaggle_blood_cells.CLASSES:
            for index in range(number):
                draw(images / part / name.upper() / f"_{index}_{next(_colour)}.jpeg")
    master = tmp_path / "dataset-master" / "dataset-master"
    for number in (0, 1, 2, 3, 9):
        draw(master / "JPEGImages" / f"BloodImage_{number:05d}.jpg")
    rows = [
        "0,NEUTROPHIL", "1,", '2,"NEUTROPHIL, EOSINOPHIL"', "3,BASOPHIL", "4,MONOCYTE",
    ]  # fmt: skip
    text = ",Image,Category\n" + "".join(f",{row}\n" for row in rows)
    (master / "labels.csv").write_text(text)
    return tmp_path


@pytest.fixture
def segmentation_root(tmp_path: Path) -> Path:
    codes = []
    for number, code in enumerate((1, 2, 3, 4, 5, 1, 7), start=1):
        draw(tmp_path / "Dataset 1" / f"{number:03d}.bmp", (8, 6))
        mask = np.zeros((6, 8), dtype=np.uint8)
        mask[1:5, 1:7] = 128
        mask[2:4, 2:5] = 255
        Image.fromarray(mask).save(tmp_path / "Dataset 1" / f"{number:03d}.png")
        codes.append(f"{number},{code}\n")
    draw(tmp_path / "Dataset 1" / "cover.bmp")
    labels = tmp_path / "Class Labels of Dataset 1.csv"
    labels.write_text("\ufeffimage ID,class label\n" + "".join(codes), encoding="utf-8")
    return tmp_path


def counts_of(published: PublishedSet) -> dict[str, int]:
    return {name: number for name, number in published.count().items() if number}


# PBC


def test_pbc_tells_the_subtype_by_prefix_and_ignores_hidden_files(pbc_root: Path):
    cells = read_pbc(pbc_root)
    assert cells.count() == {
        "basophil": 2, "eosinophil": 2, "erythroblast": 2, "ig": 8, "lymphocyte": 2,
        "monocyte": 2, "neutrophil": 6, "platelet": 2,
    }  # fmt: skip
    found = {(i.label, i.subtype) for i in cells.images if i.label in ("ig", "neutrophil")}
    assert found == {
        ("ig", "immature granulocyte"), ("ig", "myelocyte"), ("ig", "metamyelocyte"),
        ("ig", "promyelocyte"), ("neutrophil", "band neutrophil"),
        ("neutrophil", "segmented neutrophil"), ("neutrophil", "neutrophil"),
    }  # fmt: skip
    assert read_pbc(pbc_root / "PBC_dataset_normal_DIB").count() == cells.count()


def test_pbc_compares_counts_line_by_line(pbc_root: Path, monkeypatch):
    assert "ig: 8 files, published 2895" in read_pbc(pbc_root).differences
    monkeypatch.setattr(pbc, "PUBLISHED", read_pbc(pbc_root).count())
    assert read_pbc(pbc_root).differences == ()


def test_pbc_names_odd_files_and_folders(pbc_root: Path):
    folder = pbc_root / "PBC_dataset_normal_DIB"
    draw(folder / "monocyte" / "cell (1).jpg")
    draw(folder / "monocyte" / "EO_5.jpg")
    draw(folder / "blast" / "BL_1.jpg")
    cells = read_pbc(pbc_root)
    text = "\n".join(cells.differences)
    assert "monocyte/cell (1).jpg: no published prefix" in text
    assert "monocyte/EO_5.jpg: the prefix EO belongs to eosinophil" in text
    assert "blast: a folder that the publication lacks, not read" in text
    assert cells.count()["monocyte"] == 4


def test_real_pbc_part_is_read(real: Path):
    cells = read_pbc(real / "pbc")
    assert len(cells.images) == 3438
    assert counts_of(cells)["ig"] == 587
    assert len(cells.differences) == 8, "only the counts differ: every prefix is known"
    subtypes = Counter(image.subtype for image in cells.images if image.label == "neutrophil")
    assert subtypes == {"band neutrophil": 287, "segmented neutrophil": 354, "neutrophil": 8}


# Raabin


def test_raabin_parts_and_counts(raabin_root: Path):
    cells = read_raabin(raabin_root)
    assert cells.count("TestB")["lymphocyte"] == 1
    assert cells.count("TestB")["basophil"] == 0
    assert "TestB/neutrophil: 1 files, published 1971" in cells.differences
    assert "Train/basophil: 4 files, published 212" in cells.differences
    assert {part: sum(counts) for part, counts in raabin.PUBLISHED.items()} == {
        "Train": 10_175, "TestA": 4_339, "TestB": 2_119,
    }  # fmt: skip


def test_raabin_train_is_what_the_course_bundle_was_drawn_from():
    bundle = zip(wbc_bundle.PUBLISHED_TRAIN[100], wbc_bundle.PUBLISHED_VAL, strict=True)
    assert raabin.PUBLISHED["Train"] == tuple(train + val for train, val in bundle)


def test_raabin_tests_on_the_part_that_is_asked_for(raabin_root: Path):
    cells = read_raabin(raabin_root)
    usual = select_parts(cells, None, pool=False)
    assert usual.parts == {"Train": "train", "TestA": "test"}
    assert usual.left_out == {"part TestB": 2}
    other = select_parts(cells, "TestB", pool=False)
    assert other.parts == {"Train": "train", "TestB": "test"}
    assert len(select_parts(cells, None, pool=True).images) == 42
    with pytest.raises(DatasetError, match="--test-part Train.*TestA, TestB"):
        select_parts(cells, "Train", pool=False)
    with pytest.raises(DatasetError, match="not together with --pool-parts"):
        select_parts(cells, "TestB", pool=True)


def test_missing_test_part_is_no_error_until_it_is_asked_for(raabin_root: Path):
    for path in (raabin_root / "TestA").rglob("*.jpg"):
        path.unlink()
    usual = select_parts(read_raabin(raabin_root), None, pool=False)
    assert usual.parts == {"Train": "train", "TestB": "test"}


# AML


def test_aml_codes_are_read_and_named(tmp_path: Path, monkeypatch):
    folder = tmp_path / "AML-Cytomorphology_LMU"
    for code in aml.CODES:
        draw(folder / code / f"{code}_0001.tiff")
    draw(folder / "MYO" / "MYO_0002.tiff")
    (folder / "annotations.dat").write_text("NGS/NGS_0001.tiff NGS nan nan\n")
    cells = read_aml(tmp_path)
    assert cells.count()["myeloblast"] == 2
    assert len(cells.classes) == 15
    assert "MYO: 2 files, published 3268" in cells.differences
    assert sum(aml.PUBLISHED.values()) == 18_365
    monkeypatch.setattr(aml, "PUBLISHED", {**dict.fromkeys(aml.CODES, 1), "MYO": 2})
    assert read_aml(folder).differences == ()


# Kaggle


def test_kaggle_parts_lie_in_one_or_two_folders(kaggle_root: Path):
    cells = read_kaggle_blood_cells(kaggle_root)
    assert [sum(cells.count(p).values()) for p in ("TRAIN", "TEST", "TEST_SIMPLE")] == [20, 8, 4]
    outer = kaggle_root / "dataset2-master"
    (outer / "dataset2-master" / "images").rename(outer / "images")
    assert read_kaggle_blood_cells(kaggle_root).count() == cells.count()


def test_kaggle_photographs_leave_out_blank_and_several(kaggle_root: Path):
    photographs = read_kaggle_photographs(kaggle_root)
    assert counts_of(photographs) == {"basophil": 1, "neutrophil": 1}
    assert photographs.left_out == {
        "labels.csv: blank": 1,
        "labels.csv: several cells": 1,
        "labels.csv: no image file": 1,
        "photographs without a row in labels.csv": 1,
    }
    assert photographs.differences == ("labels.csv: 5 files, published 411",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"lacks the column\(s\) Image, Category"),
        (",Image,Category\n,x7,NEUTROPHIL\n", "line 2: Image 'x7' is no number"),
        (",Image,Category\n,7,BLAST\n", "line 2: Category 'blast' is none of basophil"),
        (",Image,Category\n,7,\n,07,MONOCYTE\n", "line 3: BloodImage_00007 stands twice"),
    ],
)
def test_bad_photograph_labels_are_refused_with_the_line(tmp_path: Path, text: str, message: str):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_photograph_labels(tmp_path / "labels.csv")


def test_photograph_labels_that_are_no_text_are_refused(tmp_path: Path):
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DatasetError, match="not a CSV file in UTF-8"):
        read_photograph_labels(tmp_path / "labels.csv")


def test_real_kaggle_part_is_read(real: Path):
    cells = read_kaggle_blood_cells(real / "kaggle_blood_cells")
    assert [sum(cells.count(p).values()) for p in ("TRAIN", "TEST", "TEST_SIMPLE")] == [
        915, 708, 71,
    ]  # fmt: skip
    assert not [line for line in cells.differences if line.startswith("TEST_SIMPLE")]
    labels = read_photograph_labels(real / "kaggle_blood_cells/dataset-master/labels.csv")
    assert Counter(map(len, labels.values())) == {1: 352, 0: 44, 2: 15}


# segmentation_WBC


def test_segmentation_wbc_reads_classes_and_masks(segmentation_root: Path):
    cells = read_segmentation_wbc(segmentation_root)
    assert counts_of(cells) == {
        "basophil": 1, "eosinophil": 1, "lymphocyte": 1, "monocyte": 1, "neutrophil": 2,
    }  # fmt: skip
    assert cells.left_out == {
        "Dataset 1: class label 7": 1,
        "Dataset 1: not in the class CSV": 1,
    }
    mask = read_regions(cells.images[0].mask_path, (8, 6)).regions
    assert Counter(mask.ravel().tolist()) == {BACKGROUND: 24, CYTOPLASM: 18, NUCLEUS: 6}


def test_missing_mask_is_a_difference(segmentation_root: Path):
    (segmentation_root / "Dataset 1" / "001.png").unlink()
    cells = read_segmentation_wbc(segmentation_root)
    assert "Dataset 1: 5 masks for 6 images" in cells.differences


@pytest.mark.parametrize("text", ["image ID,class label\n1,x\n", "a\n1\n", "a,b\n1,2\n1,3\n"])
def test_bad_class_csv_is_refused(segmentation_root: Path, text: str):
    (segmentation_root / "Class Labels of Dataset 1.csv").write_text(text)
    with pytest.raises(DatasetError, match=r"Class Labels of Dataset 1\.csv"):
        read_segmentation_wbc(segmentation_root)


def test_real_segmentation_wbc_has_the_published_counts(real: Path):
    cells = read_segmentation_wbc(real / "segmentation_wbc")
    assert cells.differences == ()
    assert len(cells.images) == 300
    assert segmentation_wbc.PUBLISHED["Dataset 1"] == cells.count()
    image = cells.images[0]
    mask = read_regions(image.mask_path, read_image(image.path).size).regions
    assert set(np.unique(mask)) == {BACKGROUND, CYTOPLASM, NUCLEUS}


# All


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        (read_pbc, "PBC_dataset_normal_DIB/ with the folders basophil"),
        (read_raabin, "Train/, TestA/ and TestB/"),
        (read_aml, "a folder a code"),
        (read_kaggle_blood_cells, "dataset2-master/images"),
        (read_kaggle_photographs, "dataset-master/JPEGImages"),
        (read_segmentation_wbc, "Dataset 1/001.bmp"),
    ],
)
def test_wrong_layout_is_refused_with_the_published_one(tmp_path: Path, reader, expected: str):
    draw(tmp_path / "some" / "where" / "else.png")
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DatasetError, match="Expected") as error:
            reader(root)
        assert expected in str(error.value)


def test_relabelling_counts_and_names_what_has_no_counterpart(pbc_root: Path):
    cells = relabel(read_pbc(pbc_root), "pbc", "common")
    assert cells.classes == WBC_CLASSES
    assert cells.left_out == {
        "no common counterpart: erythroblast": 2,
        "no common counterpart: ig": 8,
        "no common counterpart: platelet": 2,
    }
    assert len(cells.images) == 26 - 12


def test_classes_are_selected_without_regard_to_case(pbc_root: Path):
    cells = select_classes(read_pbc(pbc_root), ("Neutrophil", "ig", "platelet"), ("PLATELET",))
    assert cells.classes == ("neutrophil", "ig")
    assert cells.left_out["class platelet"] == 2
    with pytest.raises(DatasetError, match="--ignore-classes blast: PBC has the classes basophil"):
        select_classes(read_pbc(pbc_root), (), ("blast",))
    with pytest.raises(DatasetError, match="--classes names ig more than once"):
        select_classes(read_pbc(pbc_root), ("ig", "IG"), ())


def test_equal_counts_give_no_line():
    assert compare_counts("x/", {"a": 1, "b": 3}, {"a": 1, "b": 2}) == ["x/b: 3 files, published 2"]
