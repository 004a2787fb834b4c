"""What is listed of folders, manifests and the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.listing import ListedImage, list_labelled_images, pick_images, read_size
from datasets.samples import hash_file
from experiments import prepare_wbc


def add_images(folder: Path, number: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        Image.new("RGB", (6, 5), (index, 0, 0)).save(folder / f"{index}.png")


def test_bare_class_folders_are_one_split(tmp_path: Path):
    add_images(tmp_path / "IG", 2)
    add_images(tmp_path / "platelet", 3)
    listing = list_labelled_images(tmp_path)
    assert listing.classes == ("ig", "platelet")
    assert listing.splits == ("all",)
    assert [listing.count(name, "all") for name in listing.classes] == [2, 3]
    assert not listing.is_synthetic


def test_class_folders_further_down_are_found(tmp_path: Path):
    add_images(tmp_path / "PBC_dataset_normal_DIB" / "basophil")
    listing = list_labelled_images(tmp_path)
    assert (listing.classes, listing.splits) == (("basophil",), ("all",))


def test_folders_above_the_classes_name_the_split(tmp_path: Path):
    for split in ("TEST", "TEST_SIMPLE", "TRAIN"):
        add_images(tmp_path / "dataset2-master" / "images" / split / "EOSINOPHIL")
    listing = list_labelled_images(tmp_path)
    assert listing.splits == ("TRAIN", "TEST", "TEST_SIMPLE")
    assert listing.classes == ("eosinophil",)


def test_parts_that_all_folders_share_do_not_stand_in_the_split(tmp_path: Path):
    for split in ("train", "val", "test"):
        add_images(tmp_path / split / "data" / "normal")
    assert list_labelled_images(tmp_path).splits == ("train", "val", "test")


def test_spelling_of_a_class_does_not_divide_it(tmp_path: Path):
    add_images(tmp_path / "train" / "Basophil", 2)
    add_images(tmp_path / "test" / "BASOPHIL", 1)
    listing = list_labelled_images(tmp_path)
    assert listing.classes == ("basophil",)
    assert (listing.count("basophil", "train"), listing.count("basophil", "test")) == (2, 1)


def test_masks_hidden_files_and_hidden_folders_are_left_out(tmp_path: Path):
    add_images(tmp_path / "train" / "data" / "tumor")
    add_images(tmp_path / "train" / "mask" / "tumor")
    add_images(tmp_path / ".cache" / "tumor")
    (tmp_path / "train" / "data" / "tumor" / ".DS_169665.jpg").touch()
    (tmp_path / "train" / "data" / "tumor" / "notes.txt").touch()
    assert len(list_labelled_images(tmp_path).images) == 1


def test_flat_folder_is_one_class_of_its_name(tmp_path: Path):
    add_images(tmp_path / "Slides", 2)
    listing = list_labelled_images(tmp_path / "Slides")
    assert (listing.classes, listing.splits, len(listing.images)) == (("slides",), ("all",), 2)


def test_folder_named_like_an_image_is_no_image(tmp_path: Path):
    add_images(tmp_path / "a")
    (tmp_path / "a" / "folder.png").mkdir()
    assert len(list_labelled_images(tmp_path).images) == 1


def test_links_in_a_circle_are_not_followed(tmp_path: Path):
    add_images(tmp_path / "a")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(list_labelled_images(tmp_path).images) == 1


def test_name_that_is_no_utf8_can_be_printed(tmp_path: Path):
    folder = Path(str(tmp_path)) / b"caf\xe9".decode("utf-8", "surrogateescape")
    try:
        add_images(folder)
    except OSError:
        pytest.skip("this file system refuses such names")
    assert list_labelled_images(tmp_path).classes == ("caf?",)


def test_missing_and_empty_folders_and_other_files_are_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="No folder .*nothing"):
        list_labelled_images(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="holds no images. Expected one folder"):
        list_labelled_images(tmp_path)
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(DatasetError, match=r"table\.csv is no manifest\.csv"):
        list_labelled_images(tmp_path / "table.csv")


def test_bundle_comes_with_its_splits_and_masks(tiny_bundle: Path):
    listing = list_labelled_images(tiny_bundle)
    assert listing.is_synthetic
    assert listing.splits == ("train", "val", "test")
    counts = [listing.count(name, "train") for name in listing.classes]
    assert counts == [3, 4, 5, 3, 7]
    assert len({image.path for image in listing.images}) == len(listing.images)
    assert any(image.mask_path for image in listing.images)


def test_manifest_and_its_folder_are_the_same(tiny_bundle: Path, tmp_path: Path, capsys):
    prepare_wbc.main(
        prepare_wbc.Options(root=tiny_bundle / "WBC_100" / "train" / "data", out=tmp_path)
    )
    by_folder = list_labelled_images(tmp_path)
    by_file = list_labelled_images(tmp_path / "manifest.csv")
    assert by_folder.images == by_file.images
    assert by_folder.splits == ("train", "val", "test")
    assert by_folder.is_synthetic


def test_manifest_that_lacks_a_class_in_a_split_can_still_be_looked_at(tmp_path: Path):
    add_images(tmp_path / "a")
    row = f"a/0,a/0.png,a,train,g,1,{hash_file(tmp_path / 'a/0.png')}"
    (tmp_path / "manifest.csv").write_text(
        f"sample_id,path,label,split,group,subset,sha256\n{row}\n"
    )
    listing = list_labelled_images(tmp_path)
    assert (listing.splits, listing.classes) == (("train",), ("a",))


def make_list(root: Path, number: int, label: str = "a") -> list[ListedImage]:
    return [ListedImage(root / label / f"{i:03d}.png", label, "all") for i in range(number)]


def test_draw_is_without_repeats_and_follows_the_seed():
    images = make_list(Path("data"), 50)
    first = pick_images(images, 10, 0, Path("data"))
    assert len(set(first)) == 10
    assert first == pick_images(images, 10, 0, Path("data"))
    assert first != pick_images(images, 10, 1, Path("data"))


def test_draw_depends_neither_on_the_order_of_files_nor_on_the_root():
    images = make_list(Path("data"), 50)
    here = pick_images(images, 10, 0, Path("data"))
    assert pick_images(images[::-1], 10, 0, Path("data")) == here
    there = pick_images(make_list(Path("/elsewhere"), 50), 10, 0, Path("/elsewhere"))
    assert [image.path.name for image in there] == [image.path.name for image in here]


def test_small_class_is_taken_whole():
    images = make_list(Path("data"), 3)
    assert sorted(pick_images(images, 10, 0, Path("data")), key=lambda i: i.path) == images
    assert pick_images([], 10, 0, Path("data")) == []


def test_size_is_read_from_the_header_and_none_of_a_broken_one(tmp_path: Path):
    Image.new("RGB", (7, 3)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    assert read_size(tmp_path / "a.png") == (7, 3)
    assert read_size(tmp_path / "b.png") is None
    assert read_size(tmp_path / "none.png") is None
