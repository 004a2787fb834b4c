"""The course bundle, as written by the synthetic generator in its layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.sources import wbc_bundle
from datasets.sources.camelyon16 import read_camelyon16_tiles
from datasets.sources.prcc import cut_tiles, read_prcc
from datasets.sources.wbc_bundle import read_wbc_bundle


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may change, without the synthetic stamp."""
    root = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, root)
    (root / "SYNTHETIC.json").unlink()
    return root


def test_synthetic_stamp_is_seen(tiny_bundle: Path, bundle: Path):
    assert read_wbc_bundle(tiny_bundle).is_synthetic
    assert read_camelyon16_tiles(tiny_bundle / "CAM16_100cls_10mask").is_synthetic
    assert not read_wbc_bundle(bundle).is_synthetic


def test_masks_add_training_images_only(bundle: Path):
    plain, masked = read_wbc_bundle(bundle, use_masks=False), read_wbc_bundle(bundle)
    assert len(masked.of_split("train")) > len(plain.of_split("train"))
    assert not [s for s in masked.samples if s.mask_path and s.split != "train"]
    twin = next(s for s in masked.samples if s.mask_path)
    original = next(s for s in masked.samples if s.path == twin.path and not s.mask_path)
    assert twin.group == original.group
    assert twin.content_key != original.content_key


def test_image_of_several_subsets_is_one_sample(bundle: Path):
    cells = read_wbc_bundle(bundle, use_masks=False)
    assert len(cells.of_split("train")) == len(list((bundle / "WBC_100/train/data").rglob("*.jpg")))
    smallest = cells.of_split("train", 1)
    assert all(sample.label_percents == {1, 10, 50, 100} for sample in smallest)


def test_missing_smaller_subset_is_no_error_until_it_is_asked_for(bundle: Path):
    shutil.rmtree(bundle / "WBC_10")
    cells = read_wbc_bundle(bundle)
    cells.require_all_classes(50)
    with pytest.raises(DatasetError, match="no train images"):
        cells.require_all_classes(10)


def test_counts_are_compared_with_the_published_ones(bundle: Path, caplog):
    read_wbc_bundle(bundle)
    assert "WBC_100/train/data/Neutrophil: 7 files, published 5172" in caplog.text
    with pytest.raises(DatasetError, match="WBC_100/val/data/Basophil: 4 files, published 36"):
        read_wbc_bundle(bundle, check_counts=True)


def test_published_counts_give_no_difference(bundle: Path, monkeypatch, caplog):
    counts = {100: (3, 4, 5, 3, 7), 50: (1, 2, 2, 1, 3), 10: (1,) * 5, 1: (1,) * 5}
    monkeypatch.setattr(wbc_bundle, "PUBLISHED_TRAIN", counts)
    monkeypatch.setattr(wbc_bundle, "PUBLISHED_MASKS", dict.fromkeys((100, 50, 10, 1), (1,) * 5))
    monkeypatch.setattr(wbc_bundle, "PUBLISHED_VAL", (4, 4, 4, 4, 6))
    read_wbc_bundle(bundle, check_counts=True)
    assert caplog.text == ""


def test_mask_without_image_is_refused(bundle: Path):
    folder = bundle / "WBC_100/train/mask/Monocyte"
    shutil.copy(next(folder.iterdir()), folder / "stranger.jpg")
    with pytest.raises(DatasetError, match="a mask without image.*stranger"):
        read_wbc_bundle(bundle)


def test_mask_of_another_size_is_refused(bundle: Path):
    mask = next((bundle / "WBC_100/train/mask/Monocyte").iterdir())
    Image.new("L", (10, 12)).save(mask)
    with pytest.raises(DatasetError, match="10x12 pixels, its image .* 48x48"):
        read_wbc_bundle(bundle)


def test_train_image_in_val_is_refused(bundle: Path):
    from datasets.cells import open_cells

    train = next((bundle / "WBC_100/train/data/Monocyte").iterdir())
    shutil.copy(train, bundle / "WBC_100/val/data/Monocyte/leak.jpg")
    with pytest.raises(DatasetError, match="is in two splits"):
        open_cells(bundle, 100)


def test_tiles_of_one_group_in_two_splits_are_refused(bundle: Path):
    with pytest.raises(DatasetError, match="is in two splits"):
        read_camelyon16_tiles(bundle, group_pattern="^(normal|tumor)")


def test_missing_tiles_are_refused_with_the_expected_layout(tmp_path: Path):
    with pytest.raises(DatasetError, match="CAM16_100cls_10mask/{train,val,test}/data"):
        read_camelyon16_tiles(tmp_path)


def test_renal_images_may_lie_in_a_subfolder(bundle: Path):
    flat = read_prcc(bundle)
    inner = bundle / "pRCC_nolabel" / "images"
    inner.mkdir()
    for path in list((bundle / "pRCC_nolabel").glob("*.jpeg")):
        path.rename(inner / path.name)
    assert len(read_prcc(bundle).samples) == len(flat.samples) == 6


def test_images_of_one_patient_stay_together(tmp_path: Path):
    for patient in range(4):
        for index in range(3):
            colour = (patient * 50, index * 50, 0)
            name = f"TCGA-AA-000{patient}-01A-{index}.png"
            Image.new("RGB", (20, 20), colour).save(tmp_path / name)
    images = read_prcc(tmp_path)
    assert (
        images.count_groups("train") + images.count_groups("val") + images.count_groups("test") == 4
    )
    images.require_separate_groups()


def test_too_few_patients_are_refused(tmp_path: Path):
    Image.new("RGB", (20, 20)).save(tmp_path / "only.png")
    with pytest.raises(DatasetError, match=r"1 patient\(s\)"):
        read_prcc(tmp_path)


def test_tiles_cover_an_image_and_stay_inside(tmp_path: Path):
    Image.new("RGB", (25, 10)).save(tmp_path / "a.png")
    for name in "bc":
        Image.new("RGB", (10, 10), (ord(name), 0, 0)).save(tmp_path / f"{name}.png")
    images = read_prcc(tmp_path)
    wide = [s for s in images.samples if s.path.name == "a.png"]
    tiles = cut_tiles(wide, 10)
    assert [(tile.left, tile.top, tile.side) for tile in tiles] == [
        (0, 0, 10),
        (8, 0, 10),
        (15, 0, 10),
    ]
    assert [tile.side for tile in cut_tiles(wide, 64)] == [10, 10, 10]
