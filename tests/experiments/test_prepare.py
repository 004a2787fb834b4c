"""prepare_wbc.py as a user runs it."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import images as images_module
from datasets.cells import open_cells
from datasets.errors import DatasetError
from datasets.folders import read_folders
from datasets.locks import OwnedLock
from datasets.manifest import read_manifest
from datasets.synthetic.cells import draw_cell
from datasets.taxonomy import LABEL_PERCENTS, WBC_CLASSES
from experiments import base_wbc, prepare_wbc
from experiments.prepare_wbc import Options
from tests.faults.outcomes import left_behind

_colour = count()


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = next(_colour)
    Image.new("RGB", (12, 10), (number % 256, number // 256, 99)).save(path)


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def test_published_split_is_kept_and_the_other_test_part_named(raabin_root, tmp_path, capsys):
    options = Options(root=raabin_root, out=tmp_path / "out", source="raabin")
    prepare_wbc.main(options)
    cells = open_cells(tmp_path / "out", 100)
    assert set(cells.count("test").values()) == {4}
    assert set(cells.count("val").values()) == {1}
    assert all(sample.sample_id.startswith("TestA") for sample in cells.of_split("test"))
    assert "Left out, part TestB: 2" in capsys.readouterr().out
    assert dict(cells.left_out) == {"part TestB": 2}
    prepare_wbc.main(replace(options, out=tmp_path / "b", test_part="TestB"))
    restricted = open_cells(tmp_path / "b", 100)
    assert {name for name, n in restricted.count("test").items() if n} == {
        "lymphocyte", "neutrophil",
    }  # fmt: skip
    prepare_wbc.main(replace(options, out=tmp_path / "pool", pool_parts=True))
    assert sum(map(len, (read_manifest(tmp_path / "pool").samples,))) == 82


def test_restricted_scores_stand_beside_the_others(raabin_root, tmp_path, capsys):
    prepare_wbc.main(
        Options(root=raabin_root, out=tmp_path / "b", source="raabin", test_part="TestB")
    )
    run = base_wbc.main(
        base_wbc.Options(
            data_root=tmp_path / "b",
            runs_root=tmp_path / "runs",
            epochs=1,
            device="cpu",
            max_train_images=10,
        )
    )
    assert run.summary["test"]["restricted"]["classes"] == ["lymphocyte", "neutrophil"]
    assert run.summary["data"]["left_out"] == {"part TestA": 20}
    printed = capsys.readouterr().out
    assert "restricted to the classes in this test split: lymphocyte, neutrophil" in printed
    assert "part TestA" in printed


def test_common_labels_leave_out_count_and_keep_the_subtype(pbc_root, tmp_path, capsys):
    options = Options(root=pbc_root, out=tmp_path / "out", source="pbc", labels_as="common")
    manifest = prepare_wbc.main(options)
    assert "Left out, no common counterpart: ig: 10" in capsys.readouterr().out
    rows = rows_of(manifest)
    assert len(rows) == 50
    assert {row["subtype"] for row in rows if row["label"] == "neutrophil"} == {
        "segmented neutrophil"
    }
    info = json.loads(manifest.with_suffix(".json").read_text())
    assert info["classes"] == list(WBC_CLASSES)
    assert info["labels_as"] == "common"
    assert sum(info["left_out"].values()) == 30


def test_a_second_run_in_the_same_folder_is_told_who_works_there(pbc_root, tmp_path):
    options = Options(root=pbc_root, out=tmp_path / "out", source="pbc", find_copies=False)
    prepare_wbc.main(options)
    before = (tmp_path / "out" / "manifest.csv").stat().st_ino
    again = replace(options, overwrite=True)
    told = rf"held by process {os.getpid()} on \S+ \(.*Wait for it.*--out"
    with OwnedLock(tmp_path / "out" / ".lock", "out"), pytest.raises(DatasetError, match=told):
        prepare_wbc.main(again)
    assert (tmp_path / "out" / "manifest.csv").stat().st_ino == before
    prepare_wbc.main(again)
    assert left_behind(tmp_path / "out") == []


def test_several_draws_share_images_and_pack_and_differ(pbc_root, tmp_path, monkeypatch):
    options = Options(root=pbc_root, out=tmp_path / "out", source="pbc", draw=(0, 1, 4), pack=True,
                      image_size=(16, 24))  # fmt: skip
    first = prepare_wbc.main(options)
    assert first == tmp_path / "out" / "draw-0" / "manifest.csv"
    assert {p.name for p in (tmp_path / "out").glob("[!.]*")} == {
        "draw-0", "draw-1", "draw-4", "images-16.h5", "images-24.h5",
    }  # fmt: skip
    sets = [read_manifest(tmp_path / "out" / f"draw-{k}") for k in (0, 1, 4)]
    assert len({drawn.fingerprint for drawn in sets}) == 3
    single = Options(root=pbc_root, out=tmp_path / "single", source="pbc", draw=(1,))
    prepare_wbc.main(single)
    assert read_manifest(tmp_path / "single").fingerprint == sets[1].fingerprint

    def refuse(*_: object) -> None:
        raise AssertionError("decoded although there is a pack")

    monkeypatch.setattr(images_module, "read_sample", refuse)
    for size in (16, 24):
        dataset = images_module.ImageDataset(sets[2].samples, sets[2].classes, size)
        assert dataset[0]["image"].shape == (3, size, size)


def test_every_label_subset_of_every_draw_is_nested(pbc_root, tmp_path):
    prepare_wbc.main(Options(root=pbc_root, out=tmp_path / "out", source="pbc", draw=(0, 1)))
    for draw_index in (0, 1):
        cells = read_manifest(tmp_path / "out" / f"draw-{draw_index}")
        ids = [{s.sample_id for s in cells.of_split("train", p)} for p in LABEL_PERCENTS]
        assert ids[0] <= ids[1] <= ids[2] <= ids[3]
        assert min(cells.count("train", 1).values()) >= 1


def test_group_list_keeps_copies_together(pbc_root, tmp_path):
    plain = prepare_wbc.main(Options(root=pbc_root, out=tmp_path / "plain", source="pbc"))
    listed = tmp_path / "groups.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        for row in rows_of(plain):
            number = int(Path(row["path"]).stem.split("_")[1]) // 2
            writer.writerow([row["path"], row["label"], row["split"], f"{row['label']}-{number}"])
    options = Options(root=pbc_root, out=tmp_path / "out", source="pbc", groups=listed)
    cells = read_manifest(prepare_wbc.main(options).parent)
    assert len({sample.group for sample in cells.samples}) == 40
    cells.require_separate_groups()
    info = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert len(info["groups_sha256"]) == 64


def test_folders_give_the_same_set_with_and_without_manifest(tiny_bundle, tmp_path):
    root = tiny_bundle / "WBC_100" / "val" / "data"
    prepare_wbc.main(Options(root=root, out=tmp_path / "set"))
    assert read_manifest(tmp_path / "set").fingerprint == read_folders(root).fingerprint


def test_prepared_folder_with_written_images_can_be_moved(tmp_path):
    write_bccd(tmp_path / "bccd")
    options = Options(root=tmp_path / "bccd", out=tmp_path / "out", source="bccd",
                      ignore_classes=("basophil",), draw=(0, 1))  # fmt: skip
    prepare_wbc.main(options)
    (tmp_path / "out").rename(tmp_path / "moved")
    for draw_index in (0, 1):
        cells = open_cells(tmp_path / "moved" / f"draw-{draw_index}", 100)
        assert len(cells.samples) == 16
        assert {sample.path.suffix for sample in cells.samples} == {".png"}
        assert Image.open(cells.samples[0].path).size == (12, 12)


def write_bccd(root: Path) -> None:
    """Four photographs a class with one white cell each; two of basophils."""
    labels = [name for name in WBC_CLASSES for _ in range(2 if name == "basophil" else 4)]
    for number, _ in enumerate(labels):
        stem = f"BloodImage_{number:05d}"
        draw(root / "BCCD" / "JPEGImages" / f"{stem}.png")
        Image.new("RGB", (64, 48), (number * 9, 0, 5)).save(
            root / "BCCD" / "JPEGImages" / f"{stem}.png"
        )
        annotation = root / "BCCD" / "Annotations" / f"{stem}.xml"
        annotation.parent.mkdir(exist_ok=True)
        annotation.write_text(
            "<annotation><object><name>WBC</name><bndbox><xmin>5</xmin><ymin>5</ymin>"
            "<xmax>14</xmax><ymax>14</ymax></bndbox></object></annotation>"
        )
    rows = "".join(f",{number},{name.upper()}\n" for number, name in enumerate(labels))
    (root / "labels.csv").write_text(f",Image,Category\n{rows}")


def test_margin_changes_the_crop(tmp_path):
    write_bccd(tmp_path / "bccd")
    options = Options(root=tmp_path / "bccd", out=tmp_path / "out", source="bccd",
                      ignore_classes=("basophil",), margin=0.5)  # fmt: skip
    prepare_wbc.main(options)
    assert Image.open(read_manifest(tmp_path / "out").samples[0].path).size == (20, 20)


def test_masks_become_training_images_that_no_masks_leaves_out(tmp_path):
    root, codes = tmp_path / "seg", []
    for number in range(1, 25):
        draw(root / "Dataset 1" / f"{number:03d}.bmp")
        Image.new("L", (12, 10), 128).save(root / "Dataset 1" / f"{number:03d}.png")
        codes.append(f"{number},{number % 4 + 1}\n")
    (root / "Class Labels of Dataset 1.csv").write_text("image ID,class label\n" + "".join(codes))
    options = Options(root=root, out=tmp_path / "out", source="segmentation_wbc", masks=True,
                      ignore_classes=("basophil",))  # fmt: skip
    manifest = prepare_wbc.main(options)
    rows = rows_of(manifest)
    assert {row["split"] for row in rows if row["mask"]} == {"train"}
    with_masks = open_cells(tmp_path / "out", 100)
    without = open_cells(tmp_path / "out", 100, use_masks=False)
    assert len(with_masks.of_split("train")) == 2 * len(without.of_split("train"))
    rows[0]["mask"] = "../../secret.png"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(DatasetError, match="leads out of"):
        read_manifest(tmp_path / "out")


def test_kaggle_copies_without_groups_are_warned_of(tmp_path, caplog):
    for part, number in (("TRAIN", 12), ("TEST", 3)):
        for name in ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"):
            for index in range(number):
                draw(tmp_path / "k/dataset2-master/images" / part / name / f"_{index}_1.png")
    options = Options(
        root=tmp_path / "k", out=tmp_path / "out", source="kaggle_blood_cells", find_copies=False
    )
    prepare_wbc.main(options)
    assert "validation will leak. Leave out --no-find-copies" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (64,)}, "--image-size is the side of packed images: pass --pack"),
        ({"image_size": (0,), "pack": True}, "--image-size must be larger than 0"),
        ({"draw": (0, 0)}, "--draw takes different numbers"),
        ({"draw": (-1,)}, "--draw takes different numbers"),
        ({"draw": ()}, "--draw takes different numbers"),
        ({"val_fraction": 0.9}, "--val-fraction and --test-fraction"),
    ],
)
def test_impossible_options_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Options(root=tmp_path, out=tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": Path("x.csv")}, "--labels is of no use to --source pbc; it belongs to bccd"),
        ({"source": "folders", "margin": 0.1}, "--margin is of no use to --source folders"),
        ({"test_part": "TestB"}, "PBC has the test parts none"),
        ({"pool_parts": True}, "--pool-parts: PBC is published as one pool"),
        ({"labels_as": "blast"}, "--labels-as blast is defined for the sources aml"),
        ({"classes": ("blast",)}, "--classes blast: PBC has the classes"),
        ({"check_counts": True}, "basophil: 10 files, published 1218"),
        ({"masks": True}, "--masks: PBC has no masks"),
        ({"groups": Path("gone.csv")}, r"--groups gone\.csv"),
    ],
)
def test_options_that_do_not_fit_the_source_are_refused(pbc_root, tmp_path, changes, message):
    options = {"root": pbc_root, "out": tmp_path / "out", "source": "pbc", **changes}
    with pytest.raises((ValueError, DatasetError), match=message):
        prepare_wbc.main(Options(**options))
    assert not (tmp_path / "out").exists()


def test_earlier_draw_is_not_replaced_unasked(pbc_root, tmp_path):
    options = Options(root=pbc_root, out=tmp_path / "out", source="pbc", draw=(2, 3))
    first = prepare_wbc.main(options).read_bytes()
    with pytest.raises(ValueError, match=r"draw-2/manifest\.csv is there already"):
        prepare_wbc.main(options)
    assert prepare_wbc.main(replace(options, overwrite=True)).read_bytes() == first


def test_help_documents_every_flag(python):
    text = python("experiments/prepare_wbc.py", "--help").stdout
    assert "python experiments/prepare_wbc.py" in text


def test_sources_and_draws_are_taken_from_the_command_line(script, pbc_root, tmp_path):
    out = tmp_path / "out"
    result = script(
        "experiments/prepare_wbc.py", "--source", "pbc", "--root", pbc_root, "--out", out,
        "--draw", 0, 1, "--labels-as", "common",
    )  # fmt: skip
    assert result.returncode == 0
    assert (out / "draw-1" / "manifest.csv").is_file()
    result = script(
        "experiments/prepare_wbc.py", "--source", "lisc", "--root", pbc_root, "--out", out
    )
    assert result.returncode == 2
    assert "segmentation_wbc" in result.stdout + result.stderr


def test_real_parts_go_through(tmp_path):
    real = os.environ.get("LEUKOFUSE_REAL_DATA")
    if not real:
        pytest.skip("LEUKOFUSE_REAL_DATA is not set: no real images at hand")
    root = Path(real)
    labels = root / "kaggle_blood_cells/dataset-master/labels.csv"
    for source, folder, changes in (
        ("bccd", "bccd", {"labels": labels}),
        ("segmentation_wbc", "segmentation_wbc", {"masks": True}),
    ):
        options = Options(root=root / folder, out=tmp_path / source, source=source, pack=True,
                          image_size=(32,), ignore_classes=("basophil",),
                          check_counts=True, **changes)  # fmt: skip
        prepare_wbc.main(options)
        cells = open_cells(tmp_path / source, 1)
        dataset = images_module.ImageDataset(cells.of_split("test"), cells.classes, 32)
        assert dataset[0]["image"].shape == (3, 32, 32)


def test_copies_of_one_photograph_stay_in_one_split_unasked(tmp_path: Path):
    for row, name in enumerate(WBC_CLASSES):
        folder = tmp_path / "cells" / name
        folder.mkdir(parents=True)
        for index in range(6):
            rng = np.random.default_rng([row, index])
            picture = Image.fromarray(draw_cell(name, 160, rng)[0])
            picture.save(folder / f"{index}.png")
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"{index}_flipped.png")
    prepare_wbc.main(Options(root=tmp_path / "cells", out=tmp_path / "out"))
    cells = read_manifest(tmp_path / "out")
    splits = {}
    for sample in cells.samples:
        splits.setdefault(sample.sample_id.replace("_flipped", ""), set()).add(sample.split)
    assert len(splits) == 30
    assert all(len(found) == 1 for found in splits.values())
    assert len({sample.group for sample in cells.samples}) <= 30
