"""The audit's and its benchmark's command lines, on a few synthetic cells."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.manifest import read_manifest
from datasets.synthetic.slides import draw_slide, write_slide
from experiments import audit_data, benchmark_audit, prepare_wbc, tile_slides

AUDIT = "experiments/audit_data.py"


def save_picture(path: Path, seed: int) -> Path:
    """Save a smooth random picture, which has plenty of keypoints."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (16, 20, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize((160, 128), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def clean_tree(tmp_path: Path) -> Path:
    """Two classes in train and test, every image another picture."""
    for index, split in enumerate(("TRAIN", "TEST")):
        for number, label in enumerate(("EOSINOPHIL", "MONOCYTE")):
            for image in range(2):
                seed = 100 * index + 10 * number + image
                save_picture(tmp_path / f"set/{split}/{label}/_{image}_{seed}.png", seed)
    return tmp_path / "set"


@pytest.fixture
def leaky_tree(clean_tree: Path) -> Path:
    """The same with a mirrored copy of a training image in the test split."""
    with Image.open(clean_tree / "TRAIN/MONOCYTE/_0_10.png") as image:
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirrored.save(clean_tree / "TEST/MONOCYTE/copy.jpg", quality=92)
    return clean_tree


def test_a_clean_tree_exits_with_0(clean_tree: Path, script):
    result = script(AUDIT, clean_tree)
    assert result.returncode == 0
    assert "8 images of 8 photographs" in result.stdout
    assert "No leak" in result.stdout


def test_a_folder_without_splits_is_not_called_free_of_leaks(leaky_tree: Path, tmp_path, capsys):
    bare = tmp_path / "bare"
    for index, path in enumerate(sorted(leaky_tree.rglob("*.*"))):
        folder = bare / path.parent.name.lower()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{index}{path.suffix}")
    audit_data.main(audit_data.Options((bare,)))
    printed = capsys.readouterr().out
    assert "No leak" not in printed
    assert "No splits given, so nothing can leak between them." in printed
    assert "1 group(s) hold copies: give prepare_wbc.py --groups the groups.csv" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_a_leak_exits_with_1_and_names_both_files(leaky_tree: Path, tmp_path: Path, script):
    out = tmp_path / "out"
    result = script(AUDIT, leaky_tree, "--out", out)
    assert result.returncode == 1
    assert "copy.jpg" in result.stdout
    assert "_0_10.png" in result.stdout
    assert max(map(len, result.stdout.replace(str(out), "").splitlines())) <= 80
    with (out / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "split", "group"]
    by_name = {Path(row["path"]).name: row for row in rows}
    assert by_name["copy.jpg"]["group"] == by_name["_0_10.png"]["group"]
    assert (by_name["copy.jpg"]["split"], by_name["_0_10.png"]["split"]) == ("test", "train")
    assert len({row["group"] for row in rows}) == 8
    report = json.loads((out / "audit.json").read_text())
    assert [leak["sides"] for leak in report["leaks"]] == [{"test": 1, "train": 1}]
    assert report["num_photographs"] == 8
    with Image.open(out / "clusters.png") as sheet:
        assert sheet.width > 500


def test_train_and_test_may_be_given_as_two_folders(leaky_tree: Path):
    audit = audit_data.main(audit_data.Options((leaky_tree / "TRAIN", leaky_tree / "TEST")))
    assert [leak.kind for leak in audit.leaks] == ["split"]


@pytest.mark.parametrize("arguments", [(), ("nowhere",), (".", "--workers", "0")])
def test_wrong_use_exits_with_2(arguments: tuple[str, ...], script):
    result = script(AUDIT, *arguments)
    assert result.returncode == 2
    assert result.stderr


def test_an_unreadable_file_exits_with_2_unless_skipped(clean_tree: Path, script):
    (clean_tree / "TEST/MONOCYTE/broken.jpg").write_bytes(b"\xff\xd8broken")
    result = script(AUDIT, clean_tree)
    assert result.returncode == 2
    assert "broken.jpg" in result.stderr
    result = script(AUDIT, clean_tree, "--skip-unreadable")
    assert "Left out as unreadable: 1" in result.stdout


def test_a_manifest_that_divides_copies_leaks_at_splits_and_subsets(tmp_path: Path):
    for number in range(12):
        for label in ("a", "b"):
            seed = number + 50 * (label == "b")
            path = save_picture(tmp_path / f"cells/{label}/{number}.png", seed)
            shutil.copy(path, path.with_name(f"{number}_copy.png"))
    cells, prepared = tmp_path / "cells", tmp_path / "prepared"
    prepare_wbc.main(prepare_wbc.Options(cells, prepared, classes=("a", "b")))
    # Groups that know of the copies keep them together; one image a group tears them apart.
    manifest = prepared / "manifest.csv"
    samples = read_manifest(prepared).samples
    rows = manifest.read_text().splitlines()
    moved = next(i for i, row in enumerate(rows) if ",test," in row)
    columns = rows[moved].split(",")
    columns[3], columns[5] = "train", "100"
    rows[moved] = ",".join(columns)
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "manifest.csv").write_text("\n".join(rows) + "\n")
    shutil.copy(prepared / "manifest.json", torn)
    clean = audit_data.main(audit_data.Options((prepared,)))
    leaky = audit_data.main(audit_data.Options((torn / "manifest.csv",)))
    assert len(samples) == len(clean.images) == 48
    assert clean.leaks == []
    assert "split" in {leak.kind for leak in leaky.leaks}


def test_the_benchmark_measures_the_copies_it_made(tmp_path: Path, capsys):
    for seed in range(5):
        save_picture(tmp_path / f"photographs/{seed}.png", seed)
    result = benchmark_audit.main(
        benchmark_audit.Options(tmp_path / "photographs", images=20, out=tmp_path)
    )
    assert (result.num_images, result.num_photographs) == (20, 5)
    assert result.precision == 1.0
    assert result.recall >= 0.95
    assert "precision 1.0000" in capsys.readouterr().out
    assert json.loads((tmp_path / "benchmark.json").read_text())["num_images"] == 20


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two slide files that show the same tissue, cut into tiles; one is in train, one in test."""
    tissue = draw_slide(256, 256, np.random.default_rng(0), None)
    for number in (1, 2):
        write_slide(tmp_path / f"slides/normal_{number:03d}.tif", tissue, mpp=0.5 + number / 1000)
    out = tmp_path / "tiles"
    tile_slides.main(tile_slides.Options(tmp_path / "slides", out, level=0, tile_size=64))
    table = (out / "tiles.csv").read_text()
    for name, split in (("normal_001", "train"), ("normal_002", "test")):
        table = table.replace(f",,{name},", f",{split},{name},")
    (out / "tiles.csv").write_text(table)
    return out


@pytest.mark.parametrize("exact", [False, True])
def test_a_slide_scanned_into_two_files_leaks_between_its_tiles(tiles: Path, exact: bool):
    audit = audit_data.main(audit_data.Options((tiles,), exact=exact, out=tiles / "audit"))
    num_tiles = len(audit.images) // 2
    assert num_tiles >= 4
    assert [leak.sides for leak in audit.leaks] == [{"test": 1, "train": 1}] * num_tiles
    assert audit.clusters.num_pairs == {"same_pixels": num_tiles}
    example = audit.leaks[0].examples["test"]
    assert example.parent == tiles / "slides/normal_002.h5"
    with Image.open(tiles / "audit/clusters.png") as sheet:
        assert sheet.width > 500


def test_a_patient_in_two_splits_is_a_leak_of_the_tiles_own_group(tiles: Path):
    manifest = tiles / "tiles.csv"
    manifest.write_text(manifest.read_text().replace(",test,normal_002,", ",test,normal_001,"))
    audit = audit_data.main(audit_data.Options((manifest,), exact=True))
    assert "declared group" in {leak.kind for leak in audit.leaks}


def test_tiles_that_are_gone_are_named_or_left_out(tiles: Path):
    (tiles / "slides/normal_002.h5").unlink()
    with pytest.raises(DatasetError, match=r"normal_002\.h5 does not give the tile x"):
        audit_data.main(audit_data.Options((tiles,)))
    audit = audit_data.main(audit_data.Options((tiles,), skip_unreadable=True))
    assert {path.parent.name for path in audit.clusters.unreadable} == {"normal_002.h5"}
    assert {image.split for image in audit.images} == {"train"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("group", "patient", "lacks the column"), (",train,", ",trian,", "split 'trian'")],
)
def test_a_broken_table_of_tiles_is_refused(tiles: Path, old: str, new: str, message: str):
    manifest = tiles / "tiles.csv"
    manifest.write_text(manifest.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        audit_data.main(audit_data.Options((tiles,)))
