"""Copies are found by pixels; different photographs stay apart; leaks are named."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage
from scipy.spatial.distance import cdist

from datasets.errors import DatasetError, UnreadableImageError
from datasets.leakage import find_clusters, find_groups
from datasets.leakage.agreement import score_pairs
from datasets.leakage.audit import AuditedImage, count_independent, find_leaks, find_mixed_labels
from datasets.leakage.features import describe_image
from datasets.leakage.sources import read_sources
from datasets.synthetic.canvas import develop, draw_blob, paint
from datasets.synthetic.copies import write_copies

SIZE = 320


def draw_smear(seed: int) -> Image.Image:
    """Return a smear of many uneven cells; all smears share colours and background."""
    rng = np.random.default_rng(seed)
    canvas = np.full((SIZE, SIZE, 3), (0.9, 0.88, 0.85), dtype=np.float32)
    for _ in range(40):
        center = tuple(rng.uniform(0, SIZE, 2))
        radii = tuple(rng.uniform(12, 24, 2))
        angle = rng.uniform(0, 3)
        paint(canvas, draw_blob(SIZE, center, radii, angle, 0.1, rng) * 0.8, (0.78, 0.5, 0.48))
        inner = tuple(radius * 0.4 for radius in radii)
        paint(canvas, draw_blob(SIZE, center, inner, angle, 0.2, rng) * 0.7, (0.86, 0.7, 0.68))
    for _ in range(3):
        paint(
            canvas,
            draw_blob(SIZE, tuple(rng.uniform(80, 240, 2)), (14, 20), 0.3, 0.25, rng),
            (0.4, 0.2, 0.55),
        )
    return Image.fromarray(develop(canvas, 0.1, rng)[40:280])


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("smears")
    paths = [folder / f"{index}.png" for index in range(12)]
    for index, path in enumerate(paths):
        draw_smear(index).save(path)
    return paths


def rotate(image: Image.Image, degrees: float, mode: str) -> Image.Image:
    turned = ndimage.rotate(np.asarray(image), degrees, reshape=False, order=1, mode=mode)
    return Image.fromarray(turned)


def shift(image: Image.Image, mode: str) -> Image.Image:
    move = (0.2 * image.height, -0.2 * image.width, 0)
    return Image.fromarray(ndimage.shift(np.asarray(image), move, order=1, mode=mode))


CHANGES = {
    "same pixels in another format": lambda image: image,
    "flipped left to right": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "flipped upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 13 degrees, black": lambda image: rotate(image, 13, "constant"),
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 137 degrees, nearest": lambda image: rotate(image, 137, "nearest"),
    "shifted, black": lambda image: shift(image, "constant"),
    "shifted, nearest": lambda image: shift(image, "nearest"),
    "cropped border": lambda image: image.crop((30, 20, 300, 225)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "much darker": lambda image: ImageEnhance.Brightness(image).enhance(0.3),
    "half the size": lambda image: image.resize((160, 120), Image.Resampling.LANCZOS),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_joins_its_photograph_and_no_other(
    change: str, smears: list[Path], tmp_path: Path
):
    copy = tmp_path / "copy.jpg"
    with Image.open(smears[0]) as image:
        CHANGES[change](image).save(copy, quality=90)
    *groups, group_of_copy = find_groups([*smears[:4], copy])
    assert group_of_copy == groups[0]
    assert len(set(groups)) == 4


def test_different_photographs_of_similar_smears_stay_apart(smears: list[Path]):
    clusters = find_clusters(smears)
    assert len(set(clusters.photograph_of.values())) == len(smears)
    assert len(set(clusters.scene_of.values())) == len(smears)


@pytest.mark.parametrize("seed", [0, 1])
def test_copies_like_the_kaggle_set_reach_precision_and_recall(
    seed: int, smears: list[Path], tmp_path: Path
):
    truth = write_copies(smears, tmp_path, 90, seed)
    found = find_groups(list(truth))
    precision, recall = score_pairs(found, [photograph.name for photograph in truth.values()])
    assert precision >= 0.95
    assert recall >= 0.95


def test_groups_depend_neither_on_order_nor_on_names(smears: list[Path], tmp_path: Path):
    truth = list(write_copies(smears[:4], tmp_path / "a", 16, seed=2))
    groups = dict(zip(truth, find_groups(truth), strict=True))
    moved = []
    (tmp_path / "b").mkdir()
    for index, path in enumerate(reversed(truth)):
        moved.append(Path(shutil.copy(path, tmp_path / "b" / f"x{index}.jpg")))
    assert find_groups(moved) == [groups[path] for path in reversed(truth)]


def test_exact_duplicates_are_counted_by_kind(smears: list[Path], tmp_path: Path):
    same_bytes = Path(shutil.copy(smears[0], tmp_path / "bytes.png"))
    same_pixels = tmp_path / "pixels.bmp"
    with Image.open(smears[0]) as image:
        image.save(same_pixels)
    saved_again = tmp_path / "again.jpg"
    with Image.open(smears[0]) as image:
        image.save(saved_again, quality=95)
    clusters = find_clusters([*smears[:3], same_bytes, same_pixels, saved_again])
    assert clusters.num_pairs == {"same_bytes": 1, "same_pixels": 1, "near_duplicate": 1}
    assert len(set(clusters.photograph_of.values())) == 3


def test_cells_photographed_again_are_one_scene_but_two_photographs(tmp_path: Path):
    pixels = np.asarray(draw_smear(50))
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float32)
    # The stage moved on, and the cells drifted a little in their plasma.
    drift = 3 * np.sin(x / 17), 3 * np.sin(y / 13)
    again = cv2.remap(pixels, x + drift[0], y + drift[1], cv2.INTER_LINEAR)
    paths = [tmp_path / "first.png", tmp_path / "again.png"]
    Image.fromarray(pixels[:, :260]).save(paths[0])
    Image.fromarray(np.asarray(again)[:, 60:]).save(paths[1])
    photographs, scenes = find_groups(paths), find_groups(paths, level="scene")
    assert scenes[0] == scenes[1]
    assert photographs[0] != photographs[1]


def test_mirrored_features_are_those_of_the_mirrored_image(smears: list[Path], tmp_path: Path):
    flipped_path = tmp_path / "flipped.png"
    with Image.open(smears[0]) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(flipped_path)
    ours, oracle = describe_image(smears[0]).mirrored(), describe_image(flipped_path)
    distances = cdist(ours.descriptors, oracle.descriptors)
    nearest = distances.argmin(axis=1)
    offsets = np.abs(ours.points - oracle.points[nearest]).max(axis=1)
    assert np.median(offsets) < 0.6
    assert np.median(distances.min(axis=1)) < 0.2 * np.median(distances)


def test_plain_images_without_keypoints_are_no_copies_of_each_other(tmp_path: Path):
    paths = []
    for value in (10, 120, 240):
        paths.append(tmp_path / f"{value}.png")
        Image.new("RGB", (64, 48), (value,) * 3).save(paths[-1])
    assert len(set(find_groups(paths))) == 3
    assert find_groups(paths[:1]) == find_groups([paths[0], paths[0]])[:1]


def test_no_images_have_no_groups():
    assert find_groups([]) == []


def test_an_unreadable_file_is_an_error_or_left_out(smears: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"broken\.jpg"):
        find_groups([*smears[:2], broken])
    clusters = find_clusters([*smears[:2], broken], skip_unreadable=True)
    assert clusters.unreadable == (broken,)
    assert set(clusters.photograph_of) == set(smears[:2])


def test_pairs_are_scored_as_counted_by_hand():
    # Found pairs: ab, cd; true pairs: ab, ac, bc. Common: ab.
    assert score_pairs(["x", "x", "y", "y"], ["1", "1", "1", "2"]) == (1 / 2, 1 / 3)
    assert score_pairs(["x", "y"], ["1", "2"]) == (1.0, 1.0)


def audited(name: str, split: str, group: str, **more: object) -> AuditedImage:
    image = AuditedImage(Path(name), Path("set"), label="cell", split=split, group=group)
    return replace(image, **more)


def test_a_group_in_two_splits_is_a_leak():
    images = [audited("a", "train", "g"), audited("b", "test", "g"), audited("c", "val", "h")]
    (leak,) = find_leaks(images)
    assert (leak.kind, leak.group, leak.sides) == ("split", "g", {"test": 1, "train": 1})
    assert leak.examples == {"train": Path("a"), "test": Path("b")}


def test_a_group_on_both_sides_of_a_label_subset_is_a_leak():
    images = [audited("a", "train", "g", subset=10), audited("b", "train", "g", subset=100)]
    (leak,) = find_leaks(images)
    assert (leak.kind, leak.sides) == ("subset", {"10 %": 1, "100 %": 1})
    assert find_leaks([replace(image, subset=10) for image in images]) == []


def test_a_declared_group_in_two_splits_is_a_leak():
    images = [
        audited("a", "train", "g", declared_group="patient 1"),
        audited("b", "test", "h", declared_group="patient 1"),
    ]
    assert [leak.kind for leak in find_leaks(images)] == ["declared group"]


def test_images_without_a_split_do_not_leak():
    assert find_leaks([audited("a", "", "g"), audited("b", "train", "g")]) == []


def test_two_sources_are_checked_together_unless_they_share_files():
    train = audited("a", "train", "g", source=Path("one"))
    test = audited("b", "test", "g", source=Path("two"))
    assert len(find_leaks([train, test])) == 1
    draws = [train, replace(train, source=Path("two"), split="test")]
    assert find_leaks(draws) == []


def test_effective_numbers_match_the_formula():
    images = [audited(str(i), "train", "g" if i < 9 else "h") for i in range(10)]
    row = count_independent(images)[0]
    assert (row.num_images, row.num_groups, row.largest_group) == (10, 2, 9)
    assert row.effective_number == pytest.approx(100 / 82)


def test_groups_with_two_labels_are_listed():
    images = [audited("a", "train", "g"), audited("b", "train", "g", label="other")]
    assert find_mixed_labels(images) == {"g": ["cell", "other"]}


def save_tree(root: Path, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)


def test_class_and_split_of_a_tree_come_from_its_folders(tmp_path: Path):
    save_tree(
        tmp_path,
        ["TRAIN/EOS/1.jpg", "TEST/EOS/1.jpg", "TestA/MON/2.png", "val/MON/3.bmp", "more/BAS/4.jpg"],
    )
    save_tree(tmp_path, [".hidden/5.jpg", "train/mask/EOS/1.jpg"])
    found = {(image.label, image.split) for image in read_sources([tmp_path])}
    assert found == {
        ("EOS", "train"),
        ("EOS", "test"),
        ("MON", "test"),
        ("MON", "val"),
        ("BAS", ""),
    }
    assert {image.split for image in read_sources([tmp_path / "TRAIN"])} == {"train"}


def test_image_whose_name_is_no_utf8_is_refused(tmp_path: Path):
    try:
        (tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(b"bad")
    except OSError:
        pytest.skip("this file system refuses such names")
    with pytest.raises(DatasetError, match=r"caf.udce9\.png: the name is not UTF-8"):
        read_sources([tmp_path])


def test_masks_beside_their_images_are_left_out_but_copies_are_not(tmp_path: Path):
    save_tree(tmp_path, ["cells/001.bmp", "cells/002.jpg", "cells/002.png"])
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "cells/001.png")
    names = [image.path.name for image in read_sources([tmp_path])]
    assert names == ["001.bmp", "002.jpg", "002.png"]


@pytest.mark.parametrize("kind", ["missing", "empty", "text"])
def test_unusable_sources_say_what_is_expected(kind: str, tmp_path: Path):
    source = {"missing": tmp_path / "none", "empty": tmp_path, "text": tmp_path / "a.txt"}[kind]
    if kind == "text":
        source.write_text("x")
    with pytest.raises(DatasetError, match="folder|Expected files"):
        read_sources([source])


@pytest.mark.skipif("LEUKOFUSE_REAL_DATA" not in os.environ, reason="needs LEUKOFUSE_REAL_DATA")
def test_each_kaggle_test_copy_joins_its_original():
    images = Path(os.environ["LEUKOFUSE_REAL_DATA"]) / "kaggle_blood_cells/dataset2-master/images"
    copies = sorted(images.glob("TEST/*/*.jpeg"))
    originals = sorted(images.glob("TEST_SIMPLE/*/*.jpeg"))
    assert len(copies) == 708
    groups = find_groups([*copies, *originals])
    # TEST_SIMPLE holds the photographs that TEST was made from, whatever the numbers in the names.
    assert set(groups[: len(copies)]) <= set(groups[len(copies) :])
    assert len(set(groups[len(copies) :])) >= len(originals) - 2
