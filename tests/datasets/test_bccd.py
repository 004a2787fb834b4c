"""BCCD: boxes read safely, white cells cut out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.safe_xml import read_xml
from datasets.sources.bccd import Box, cut_box, read_bccd, read_boxes

OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
    "<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
)
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>'
    "<annotation>&b;</annotation>"
)
FETCH = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<annotation>&f;</annotation>"
)


def write_photograph(folder: Path, number: int, boxes: list[tuple]) -> None:
    stem = f"BloodImage_{number:05d}"
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:, :, 0] = np.arange(64)
    pixels[:, :, 1] = np.arange(48)[:, None]
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / "JPEGImages" / f"{stem}.jpg", quality=100)
    objects = "".join(OBJECT.format(name=name, box=box) for name, box in boxes)
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "BCCD"
    white = ("WBC", (11, 11, 30, 20))
    write_photograph(folder, 0, [white, ("RBC", (1, 1, 9, 9)), ("Platelets", (50, 40, 52, 42))])
    write_photograph(folder, 1, [white, ("WBC", (40, 20, 60, 40))])
    write_photograph(folder, 2, [white])
    write_photograph(folder, 3, [white, white])
    write_photograph(folder, 4, [white])
    write_photograph(folder, 5, [("RBC", (1, 1, 9, 9))])
    (folder / "Annotations" / "BloodImage_00004.xml").unlink()
    rows = ['0,EOSINOPHIL', '1,"NEUTROPHIL, NEUTROPHIL"', '2,"NEUTROPHIL,BASOPHIL"', "3,MONOCYTE",
            "4,MONOCYTE", "5,"]  # fmt: skip
    text = ",Image,Category\n" + "".join(f",{row}\n" for row in rows)
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path


def test_cells_take_their_kind_from_the_photographs_label(root: Path):
    cells = read_bccd(root)
    assert [(image.image_id, image.group) for image in cells.images] == [
        ("eosinophil/BloodImage_00000_0.png", "BloodImage_00000"),
        ("neutrophil/BloodImage_00001_0.png", "BloodImage_00001"),
        ("neutrophil/BloodImage_00001_1.png", "BloodImage_00001"),
    ]
    assert cells.left_out == {
        "photographs without annotation": 1,
        "white cells of photographs with several kinds": 1,
        "white cells of photographs with more or fewer boxes than labels": 2,
    }
    assert "photographs: 6 files, published 364" in cells.differences


def test_box_counts_pixels_from_zero(root: Path):
    boxes = read_boxes(root / "BCCD/Annotations/BloodImage_00000.xml")
    assert boxes[0] == Box("WBC", 10, 10, 30, 20)


def test_crop_is_a_square_around_the_box_with_margin(root: Path):
    path = root / "BCCD/JPEGImages/BloodImage_00000.jpg"
    crop = np.asarray(cut_box(path, Box("WBC", 10, 10, 30, 20), 0.1)).astype(int)
    assert crop.shape == (24, 24, 3)
    # 20 wide plus a tenth on each side; centred on (20, 15).
    assert crop[0, 0, :2] == pytest.approx((8, 3), abs=4)
    assert crop[-1, -1, :2] == pytest.approx((31, 26), abs=4)


def test_crop_at_the_border_is_moved_inside(root: Path):
    path = root / "BCCD/JPEGImages/BloodImage_00000.jpg"
    crop = np.asarray(cut_box(path, Box("WBC", 54, 30, 64, 48), 0.5)).astype(int)
    assert crop.shape == (36, 36, 3)
    assert crop[-1, -1, :2] == pytest.approx((63, 47), abs=4)
    whole = cut_box(path, Box("WBC", 0, 0, 64, 48), 1.0)
    assert whole.size == (48, 48)


def test_box_outside_the_photograph_is_refused(root: Path):
    path = root / "BCCD/JPEGImages/BloodImage_00000.jpg"
    with pytest.raises(DatasetError, match="70, 2 lies outside 64x48"):
        cut_box(path, Box("WBC", 70, 2, 80, 9), 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "DOCTYPE"),
        (FETCH, "DOCTYPE"),
        ("<annotation><object>", "cannot be read as XML"),
        ("", "cannot be read as XML"),
        ("<html/>", "<html> is no VOC annotation"),
        (f"<annotation>{OBJECT.format(name='WBC', box=(9, 9, 'x', 20))}</annotation>", "xmax 'x'"),
        (f"<annotation>{OBJECT.format(name='WBC', box=(9, 9, 'nan', 20))}</annotation>", "'nan'"),
        (f"<annotation>{OBJECT.format(name='WBC', box=(20, 9, 9, 20))}</annotation>", "is empty"),
        ("<annotation><object><name>WBC</name></object></annotation>", "xmin '' is no number"),
    ],
)
def test_broken_or_hostile_annotation_is_refused(root: Path, text: str, message: str):
    path = root / "BCCD/Annotations/BloodImage_00000.xml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_bccd(root)


def test_missing_xml_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"gone\.xml"):
        read_xml(tmp_path / "gone.xml")


def test_labels_are_asked_for(root: Path):
    (root / "labels.csv").rename(root / "elsewhere.csv")
    with pytest.raises(DatasetError, match=r"labels\.csv.*--labels"):
        read_bccd(root)
    assert len(read_bccd(root, labels=root / "elsewhere.csv").images) == 3


@pytest.mark.parametrize("margin", [-0.1, float("nan")])
def test_impossible_margin_is_refused(root: Path, margin: float):
    with pytest.raises(DatasetError, match="--margin must be 0 or more"):
        read_bccd(root, margin=margin)


def test_wrong_layout_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="Expected BCCD/JPEGImages"):
        read_bccd(tmp_path)


def test_real_bccd_has_the_published_counts():
    real = os.environ.get("LEUKOFUSE_REAL_DATA")
    if not real:
        pytest.skip("LEUKOFUSE_REAL_DATA is not set: no real images at hand")
    labels = Path(real) / "kaggle_blood_cells/dataset-master/labels.csv"
    cells = read_bccd(Path(real) / "bccd", labels=labels)
    assert cells.differences == ()
    assert cells.count() == {
        "basophil": 2, "eosinophil": 86, "lymphocyte": 35, "monocyte": 20, "neutrophil": 210,
    }  # fmt: skip
    assert sum(cells.left_out.values()) + len(cells.images) == 372
    crop = cells.images[0].make()
    assert crop.width == crop.height > 100
