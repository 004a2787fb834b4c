"""From a published set to splits, groups and manifests."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from datasets.errors import DatasetError, UnreadableImageError
from datasets.grouping import group_images, merge_groups, read_groups
from datasets.preparing import draw_set, hash_images, write_made_images
from datasets.published import PublishedImage, PublishedSet
from datasets.splits import assign_splits

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
PARTS = {"Train": "train", "Test": "test"}


@pytest.fixture
def published(tmp_path: Path) -> PublishedSet:
    """Two classes, ten training and four test images each."""
    images = []
    for row, label in enumerate("ab"):
        for index in range(14):
            part = "Train" if index < 10 else "Test"
            path = tmp_path / "set" / part / label / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 6), (row * 90, index * 10, 7)).save(path)
            name = path.relative_to(tmp_path / "set").as_posix()
            images.append(PublishedImage(name, label, path, part=part))
    return PublishedSet("set", ("a", "b"), tuple(images), tmp_path / "set", PARTS)


def test_published_test_is_kept_and_validation_drawn_from_training(published):
    hashed = hash_images(published)
    cells = draw_set(hashed, [i.image_id for i in published.images], FRACTIONS, seed=0)
    assert cells.count("test") == {"a": 4, "b": 4}
    assert cells.count("val") == {"a": 1, "b": 1}
    assert cells.count("train") == {"a": 9, "b": 9}
    assert all(s.path.parts[-3] == "Test" for s in cells.of_split("test"))
    assert all(s.path.parts[-3] == "Train" for s in cells.of_split("val"))
    assert cells.has_published_test


def test_training_image_whose_group_is_in_test_is_left_out_and_counted(published):
    groups = [i.image_id for i in published.images]
    groups[0] = groups[1] = groups[13]
    cells = draw_set(hash_images(published), groups, FRACTIONS, seed=0)
    cells.require_separate_groups()
    assert cells.count("test")["a"] == 4
    assert cells.count("train")["a"] + cells.count("val")["a"] == 8
    assert cells.left_out == (("of a group that a later split holds", 2),)


def test_published_validation_is_kept(published):
    images = list(published.images)
    images[0], images[14] = replace(images[0], part="Val"), replace(images[14], part="Val")
    published = replace(published, images=tuple(images), parts={**PARTS, "Val": "val"})
    groups = [i.image_id for i in images]
    groups[1] = groups[0]
    cells = draw_set(hash_images(published), groups, FRACTIONS, seed=3)
    assert {s.sample_id for s in cells.of_split("val")} == {"Train/a/00.png", "Train/b/00.png"}
    assert dict(cells.left_out) == {"of a group that a later split holds": 1}


def test_draws_differ_and_are_repeatable():
    labels, groups = ["a"] * 40, [f"{i:02d}" for i in range(40)]
    draws = [assign_splits(labels, groups, [None] * 40, FRACTIONS, s) for s in (0, 0, 1000)]
    assert draws[0] == draws[1] != draws[2]
    fixed = ["train"] * 30 + ["test"] * 10
    drawn = [assign_splits(labels, groups, fixed, FRACTIONS, seed) for seed in (0, 1000)]
    assert drawn[0] != drawn[1]
    assert drawn[0][30:] == drawn[1][30:] == ["test"] * 10
    assert drawn[0].count("val") == 3


def test_test_split_that_lacks_a_class_is_allowed_only_if_published(published):
    images = tuple(i for i in published.images if (i.part, i.label) != ("Test", "b"))
    ids = [i.image_id for i in images]
    cells = draw_set(hash_images(replace(published, images=images)), ids, FRACTIONS, seed=0)
    cells.require_all_classes()
    with pytest.raises(DatasetError, match="no test images of b"):
        replace(cells, has_published_test=False).require_all_classes()
    none = tuple(s for s in cells.samples if s.split != "test")
    with pytest.raises(DatasetError, match="no test images of a, b"):
        replace(cells, samples=none).require_all_classes()


def test_masked_images_are_added_to_training_only(published, tmp_path):
    mask = tmp_path / "set" / "mask.png"
    Image.new("L", (6, 6), 255).save(mask)
    images = tuple(replace(image, mask_path=mask) for image in published.images)
    ids = [i.image_id for i in images]
    hashed = hash_images(replace(published, images=images))
    plain = draw_set(hashed, ids, FRACTIONS, seed=0)
    masked = draw_set(hashed, ids, FRACTIONS, seed=0, use_masks=True)
    added = {s.sample_id for s in masked.samples} - {s.sample_id for s in plain.samples}
    assert added == {f"{s.sample_id}#masked" for s in plain.of_split("train")}


def test_mask_of_another_size_is_found_when_preparing(published, tmp_path):
    mask = tmp_path / "set" / "mask.png"
    Image.new("L", (7, 6), 255).save(mask)
    images = tuple(replace(image, mask_path=mask) for image in published.images)
    hashed = hash_images(replace(published, images=images))
    with pytest.raises(DatasetError, match="7x6 pixels, its image 6x6"):
        draw_set(hashed, [i.image_id for i in images], FRACTIONS, seed=0, use_masks=True)


def test_made_images_are_written_as_they_are_and_replace_earlier_ones(tmp_path):
    def published(colour: int, number: int) -> PublishedSet:
        make = partial(Image.new, "RGB", (5, 4), (colour, 2, 3))
        images = tuple(PublishedImage(f"x/{i}.png", "x", make=make) for i in range(number))
        return PublishedSet("made", ("x",), images, tmp_path)

    written = write_made_images(published(9, 3), tmp_path / "out")
    assert written.root == tmp_path / "out" / "images"
    assert Image.open(written.images[2].path).getpixel((0, 0)) == (9, 2, 3)
    written = write_made_images(published(8, 2), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out/images/x").iterdir()) == ["0.png", "1.png"]
    assert Image.open(written.images[0].path).getpixel((0, 0)) == (8, 2, 3)


def test_failed_writing_keeps_earlier_images_and_leaves_nothing_half(tmp_path):
    good = PublishedImage("a.png", "x", make=partial(Image.new, "RGB", (5, 4)))
    write_made_images(PublishedSet("made", ("x",), (good,), tmp_path), tmp_path / "out")

    def fail() -> Image.Image:
        raise DatasetError("broken source")

    bad = replace(good, image_id="b.png", make=fail)
    with pytest.raises(DatasetError, match="broken source"):
        write_made_images(PublishedSet("made", ("x",), (good, bad), tmp_path), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["images"]
    assert [p.name for p in (tmp_path / "out/images").iterdir()] == ["a.png"]


def test_two_made_images_of_one_name_are_refused(tmp_path):
    image = PublishedImage("a.png", "x", make=partial(Image.new, "RGB", (5, 4)))
    with pytest.raises(DatasetError, match=r"a\.png: two images of the set have this name"):
        write_made_images(PublishedSet("made", ("x",), (image, image), tmp_path), tmp_path / "out")


def test_set_of_files_is_left_where_it_is(published, tmp_path):
    assert write_made_images(published, tmp_path / "out") is published
    assert not (tmp_path / "out").exists()


def test_unreadable_files_are_refused_or_left_out(published):
    published.images[3].path.write_bytes(b"broken")
    with pytest.raises(UnreadableImageError, match=r"03\.png"):
        hash_images(published)
    hashed = hash_images(published, skip_unreadable=True)
    assert hashed.skipped == ("Train/a/03.png",)
    assert len(hashed.hashes) == len(hashed.published.images) == 27


def test_class_without_images_is_refused(published):
    with pytest.raises(DatasetError, match="no readable image of class c.*--ignore-classes c"):
        hash_images(replace(published, classes=("a", "b", "c")))


# Groups


def test_groups_are_joined_through_any_naming():
    assert merge_groups(["a", "b", "c", "d"], ["1", "2", "2", "3"], ["x", "y", "z", "z"]) == [
        "a", "b", "b", "b",
    ]  # fmt: skip
    assert merge_groups(["b", "a", "b"]) == ["b", "a", "b"]


def test_publication_bytes_pattern_and_list_make_groups_together(published, tmp_path):
    images = [replace(image, group="") for image in published.images[:6]]
    images[0], images[1] = replace(images[0], group="photo"), replace(images[1], group="photo")
    small = replace(published, images=tuple(images))
    hashes = ["0", "1", "2", "2", "4", "5"]
    plain = group_images(small, hashes)
    assert [plain.index(name) for name in plain] == [0, 0, 2, 2, 4, 5]
    listed = tmp_path / "groups.csv"
    rows = [f"{i.image_id},a,train,{'g' if k in (3, 5) else k}\n" for k, i in enumerate(images)]
    listed.write_text("path,label,split,group\n" + "".join(rows))
    joined = group_images(small, hashes, groups_path=listed)
    assert [joined.index(name) for name in joined] == [0, 0, 2, 2, 4, 2]
    by_name = group_images(small, hashes, pattern=r"^\d(\d)")
    assert len(set(by_name)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,cluster\nx,1\n", r"lacks the column\(s\) group"),
        ("path,group\nTrain/a/00.png,1\n", "names no group for 27 of 28 images, e.g. Train/a/01"),
        ("path,group\nx,1\nx,2\n", "line 3: x has two groups"),
        ("path,group\nx,\xff\n", "no group for 28 of 28"),
    ],
)
def test_bad_group_lists_are_refused(published, tmp_path, text, message):
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        read_groups(tmp_path / "groups.csv", [i.image_id for i in published.images])


def test_missing_group_list_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"--groups .*gone\.csv"):
        read_groups(tmp_path / "gone.csv", ["a"])
