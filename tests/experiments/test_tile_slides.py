"""Slides cut as a user cuts them, and the tumor classifier trained on the tiles."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from datasets.errors import DatasetError
from datasets.samples import hash_file
from datasets.synthetic.slides import draw_slide, write_asap, write_slide
from datasets.wsi import run as cutting
from datasets.wsi.manifest import TILES_NAME
from datasets.wsi.store import open_tiles, read_table, write_tiles
from datasets.wsi.training import SlideTileDataset, read_slide_tiles
from experiments import camelyon16_resnet18, tile_slides
from trainers.run import read_finished

ROOT = Path(__file__).resolve().parents[2]
LESION = (256, 256, 512, 448)
HOLE = (320, 320, 384, 384)


def corners_of(box: tuple[int, int, int, int]) -> list[tuple[float, float]]:
    left, top, right, bottom = box
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


@pytest.fixture(scope="module")
def all_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tumor and four normal slides of 640 x 512 in Camelyon16's layout."""
    root = tmp_path_factory.mktemp("camelyon")
    for number in range(1, 5):
        rng = np.random.default_rng(number)
        write_slide(root / f"images/tumor_{number:03d}.tif", draw_slide(512, 640, rng, LESION))
        write_slide(root / f"images/normal_{number:03d}.tif", draw_slide(512, 640, rng, None))
        write_asap(
            root / f"annotations/tumor_{number:03d}.xml",
            {"_0": [corners_of(LESION)], "_2": [corners_of(HOLE)]},
        )
    return root


def options_into(out: Path, slides: Path) -> tile_slides.Options:
    return tile_slides.Options(slides=slides, out=out, mpp=0.5, tile_size=64, min_tissue=0.9)


@pytest.fixture
def options(all_slides: Path, tmp_path: Path) -> tile_slides.Options:
    return options_into(tmp_path / "tiles", all_slides)


@pytest.fixture(scope="module")
def all_tiles(all_slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `options` cut."""
    out = tmp_path_factory.mktemp("cut") / "tiles"
    tile_slides.main(options_into(out, all_slides))
    return out


@pytest.fixture
def tiles_dir(all_tiles: Path, tmp_path: Path) -> Path:
    """A copy of the tiles of all slides."""
    return shutil.copytree(all_tiles, tmp_path / "copy")


@pytest.fixture
def one_slide(all_slides: Path, options: tile_slides.Options) -> tile_slides.Options:
    return replace(
        options,
        slides=all_slides / "images/tumor_001.tif",
        annotations=all_slides / "annotations",
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tiles_bear_the_place_pixels_and_label_of_the_slide(one_slide, all_slides):
    rows = read_rows(tile_slides.main(one_slide))
    by_place = {(int(row["x"]), int(row["y"])): row for row in rows}
    assert {row["level0_size"] for row in rows} == {"64"}
    lesion = {(x, y) for x in range(256, 512, 64) for y in range(256, 448, 64)}
    hole = (320, 320)
    assert {place for place, row in by_place.items() if row["label"] == "tumor"} == lesion - {hole}
    assert {float(by_place[place]["tumor_fraction"]) for place in lesion - {hole}} == {1.0}
    assert (by_place[hole]["label"], float(by_place[hole]["tumor_fraction"])) == ("normal", 0.0)
    pixels = draw_slide(512, 640, np.random.default_rng(1), LESION)
    with h5py.File(one_slide.out / "slides/tumor_001.h5") as file:
        assert file["image"].chunks == (1, 64, 64, 3)
        for row, (x, y) in enumerate(file["corner"][:].tolist()):
            expected = pixels[y : y + 64, x : x + 64].astype(int)
            assert np.abs(file["image"][row] - expected).mean() < 6


def test_border_tiles_are_ignored_between_the_two_limits(one_slide):
    shifted = replace(one_slide, tile_size=96, tumor_from=0.7, min_tissue=0.0)
    for row in read_rows(tile_slides.main(shifted)):
        x, y, fraction = int(row["x"]), int(row["y"]), float(row["tumor_fraction"])
        exact = overlap(LESION, x, y, 96) - overlap(HOLE, x, y, 96)
        assert fraction == pytest.approx(exact / 96**2, abs=1e-6)
        expected = "tumor" if fraction >= 0.7 else "normal" if fraction == 0 else "ignored"
        assert row["label"] == expected


def overlap(box: tuple[int, int, int, int], x: int, y: int, size: int) -> int:
    width = min(box[2], x + size) - max(box[0], x)
    height = min(box[3], y + size) - max(box[1], y)
    return max(0, width) * max(0, height)


def test_tile_in_a_partly_annotated_slide_is_never_normal(all_slides, options, tmp_path):
    root = tmp_path / "partly"
    root.mkdir()
    for suffix, folder in ((".tif", "images"), (".xml", "annotations")):
        source = all_slides / folder / f"tumor_001{suffix}"
        (root / f"tumor_010{suffix}").write_bytes(source.read_bytes())
    rows = read_rows(tile_slides.main(replace(options, slides=root)))
    assert {row["label"] for row in rows} == {"tumor", "ignored"}


def test_overview_shows_tumor_tiles_on_the_lesion(one_slide):
    tile_slides.main(one_slide)
    with Image.open(one_slide.out / "overviews/tumor_001.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    reddish = (picture[:, :, 0] - picture[:, :, 2] > 40) & (picture[:, :, 1] < 110)
    y, x = np.nonzero(reddish[44:])
    assert len(x) > 100
    panel = 640 + 12
    assert (x >= panel + 256 - 2).all()
    assert (x <= panel + 512 + 2).all()
    assert y.min() >= 256 - 2
    assert y.max() <= 448 + 2


def test_slide_of_another_set_is_unlabelled(all_slides, options, tmp_path):
    (tmp_path / "other").mkdir()
    source = all_slides / "images/normal_001.tif"
    (tmp_path / "other/TCGA-AB-1234-01.tif").write_bytes(source.read_bytes())
    rows = read_rows(tile_slides.main(replace(options, slides=tmp_path / "other")))
    assert {(row["label"], row["tumor_fraction"], row["group"]) for row in rows} == {
        ("unlabelled", "", "TCGA-AB-1234")
    }


def test_tiles_without_labels_are_told_when_cut_and_when_trained_on(
    all_slides, options, tmp_path, caplog
):
    (tmp_path / "other").mkdir()
    source = all_slides / "images/tumor_001.tif"
    (tmp_path / "other/S1.tif").write_bytes(source.read_bytes())
    options = replace(options, slides=tmp_path / "other")
    rows = read_rows(tile_slides.main(options))
    told = f"{len(rows)} tiles are unlabelled: no NAME.xml was found.*--annotations DIR"
    assert re.search(f"No training with these tiles: {told}", caplog.text)
    training = camelyon16_resnet18.Options(data_root=options.out, runs_root=tmp_path)
    with pytest.raises(DatasetError, match=told):
        camelyon16_resnet18.main(training)
    (tmp_path / "xml").mkdir()
    write_asap(tmp_path / "xml/S1.xml", {"_0": [corners_of(LESION)]})
    again = read_rows(tile_slides.main(replace(options, annotations=tmp_path / "xml")))
    assert "tumor" in {row["label"] for row in again}, "the advice helps"


def test_a_class_that_tiles_lack_is_not_to_be_drawn_by_the_script_for_cells(
    all_slides, options, tmp_path
):
    root = tmp_path / "official"
    for path in sorted(all_slides.rglob("*_00?.*")):
        if path.name.startswith("tumor_004"):
            continue
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        name = path.name.replace("normal_004", "test_002")
        (root / path.parent.name / name).write_bytes(path.read_bytes())
    write_asap(root / "annotations/test_001.xml", {})
    tile_slides.main(replace(options, slides=root))
    training = camelyon16_resnet18.Options(data_root=options.out, runs_root=tmp_path)
    with pytest.raises(DatasetError, match="no test images of tumor.*cut more slides with"):
        camelyon16_resnet18.main(training)


def test_two_workers_write_what_one_writes(all_tiles, options):
    written = tile_slides.main(replace(options, workers=2))
    assert written.read_bytes() == (all_tiles / TILES_NAME).read_bytes()
    for path in sorted((all_tiles / "slides").glob("*.h5")):
        assert path.read_bytes() == (options.out / "slides" / path.name).read_bytes()


def test_no_patient_is_in_two_splits_and_each_split_has_both_classes(all_tiles):
    tiles = read_slide_tiles(all_tiles)
    tiles.require_all_classes()
    splits = {}
    for sample in tiles.samples:
        assert splits.setdefault(sample.group, sample.split) == sample.split
    assert len(splits) == 8


def test_official_test_slides_are_the_test(all_slides, options, tmp_path):
    root = tmp_path / "official"
    for path in sorted(all_slides.rglob("*_00?.*")):
        name = path.name.replace("tumor_004", "test_001").replace("normal_004", "test_002")
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / name).write_bytes(path.read_bytes())
    rows = read_rows(tile_slides.main(replace(options, slides=root)))
    assert {row["slide"] for row in rows if row["split"] == "test"} == {"test_001", "test_002"}
    assert {row["label"] for row in rows if row["slide"] == "test_002"} == {"normal"}


def test_finished_slides_are_kept_and_changed_ones_are_cut_again(
    all_slides, options, tmp_path, monkeypatch
):
    root = tmp_path / "changing"
    root.mkdir()
    for suffix, folder in ((".tif", "images"), (".xml", "annotations")):
        for name in ("tumor_001", "tumor_002"):
            source = all_slides / folder / (name + suffix)
            (root / source.name).write_bytes(source.read_bytes())
    options = replace(options, slides=root)
    first = tile_slides.main(options).read_bytes()
    files = [options.out / f"slides/tumor_00{number}.h5" for number in (1, 2)]
    before = [path.stat().st_mtime_ns for path in files]
    assert tile_slides.main(options).read_bytes() == first
    assert [path.stat().st_mtime_ns for path in files] == before
    write_asap(root / "tumor_002.xml", {"_0": [corners_of(HOLE)]})
    tile_slides.main(options)
    assert files[0].stat().st_mtime_ns == before[0]
    assert files[1].stat().st_mtime_ns > before[1]
    assert read_table(files[1])[1].labels.count("tumor") == 1
    before = [path.stat().st_mtime_ns for path in files]
    for path in root.glob("*.tif"):
        path.touch()
    changed = {root / "tumor_001.tif": "of other bytes"}
    monkeypatch.setattr(cutting, "hash_file", lambda path: changed.get(path) or hash_file(path))
    tile_slides.main(options)
    assert files[0].stat().st_mtime_ns > before[0], "its bytes changed, not its size"
    assert files[1].stat().st_mtime_ns == before[1], "only its time changed"


def test_other_options_are_refused_and_overwrite_cuts_again(one_slide):
    tile_slides.main(one_slide)
    other = replace(one_slide, tile_size=32)
    with pytest.raises(DatasetError, match=r"now:\n  tile_size: 64 -> 32\nPass --overwrite"):
        tile_slides.main(other)
    with pytest.raises(DatasetError, match=r"now:\n  level: null -> 0, mpp: 0\.5 -> null\nPass"):
        tile_slides.main(replace(one_slide, mpp=None, level=0))
    tile_slides.main(replace(other, overwrite=True))
    facts, _ = read_table(one_slide.out / "slides/tumor_001.h5")
    assert facts.tile_size == 32


def test_broken_tile_file_is_cut_again(one_slide):
    tile_slides.main(one_slide)
    path = one_slide.out / "slides/tumor_001.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    tile_slides.main(one_slide)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("text", [b"tumor_001/x", b'"tile_size": 64'])
def test_a_slide_whose_ids_or_options_are_damaged_is_cut_again(one_slide, text: bytes):
    rows = tile_slides.main(one_slide).read_bytes()
    path = one_slide.out / "slides/tumor_001.h5"
    whole = path.read_bytes()
    assert text in whole
    path.write_bytes(whole.replace(text, text[:-1] + bytes([text[-1] ^ 1]), 1))
    assert tile_slides.main(one_slide).read_bytes() == rows
    assert path.read_bytes() == whole


def test_failing_slides_are_reported_and_the_rest_goes_on(all_slides, options, tmp_path, caplog):
    root = tmp_path / "mixed"
    root.mkdir()
    for name in ("normal_001", "normal_002"):
        (root / f"{name}.tif").write_bytes((all_slides / f"images/{name}.tif").read_bytes())
    (root / "normal_003.tif").write_bytes((root / "normal_001.tif").read_bytes()[:30000])
    (root / "tumor_009.tif").write_bytes((all_slides / "images/tumor_001.tif").read_bytes())
    (root / "tumor_008.tif").write_bytes((all_slides / "images/tumor_002.tif").read_bytes())
    (root / "tumor_008.xml").write_text("<!DOCTYPE a []><ASAP_Annotations/>")
    options = replace(options, slides=root, workers=2)
    with pytest.raises(SystemExit) as caught:
        tile_slides.main(options)
    assert caught.value.code == 1
    report = caplog.records[-1].getMessage()
    assert report.startswith("3 of 5 slides failed")
    assert "tumor_009: " in report
    assert "there is no tumor_009.xml" in report
    assert "document type declaration" in report
    assert {row["slide"] for row in read_rows(options.out / TILES_NAME)} == {
        "normal_001", "normal_002",
    }  # fmt: skip
    info = json.loads((options.out / "tiles.json").read_text())
    assert set(info["failed"]) == {"normal_003", "tumor_008", "tumor_009"}
    assert not list(options.out.rglob("*.tmp"))


def test_killed_run_leaves_whole_slides_only_and_is_completed(options):
    complete = replace(options, out=options.out.with_name("complete"), tile_size=16, mpp=0.5)
    expected = tile_slides.main(complete).read_bytes()
    killed = replace(complete, out=options.out)
    command = [
        sys.executable, "experiments/tile_slides.py", "--slides", str(options.slides), "--out",
        str(killed.out), "--mpp", "0.5", "--tile-size", "16", "--min-tissue", "0.9",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for_a_slide(process, killed.out)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in (killed.out / "slides").glob("*.h5")}
    assert 1 <= len(finished) < 8
    assert not (killed.out / TILES_NAME).exists()
    (killed.out / "slides/.tumor_004.h5.99999.tmp").write_bytes(b"half a slide")
    assert tile_slides.main(killed).read_bytes() == expected
    for path, time_written in finished.items():
        assert path.stat().st_mtime_ns == time_written
    assert not list(killed.out.rglob("*.tmp"))


def test_stopped_run_says_how_to_go_on_and_leaves_nothing_half(options):
    command = [
        sys.executable, "experiments/tile_slides.py", "--slides", str(options.slides), "--out",
        str(options.out), "--mpp", "0.5", "--tile-size", "16", "--min-tissue", "0.9",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for_a_slide(process, options.out)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert not list(options.out.rglob("*.tmp"))


def wait_for_a_slide(process: subprocess.Popen, out: Path) -> None:
    deadline = time.monotonic() + 120
    while not list((out / "slides").glob("*.h5")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)


def test_camelyons_masks_are_no_slides(all_slides, options, tmp_path):
    root = tmp_path / "masked"
    root.mkdir()
    for name in ("normal_001", "tumor_001_mask"):
        (root / f"{name}.tif").write_bytes((all_slides / "images/normal_001.tif").read_bytes())
    rows = read_rows(tile_slides.main(replace(options, slides=root)))
    assert {row["slide"] for row in rows} == {"normal_001"}


def test_synthetic_slides_are_stamped(all_slides, options, tmp_path):
    root = tmp_path / "drawn"
    root.mkdir()
    (root / "SYNTHETIC.json").write_text("{}")
    (root / "normal_001.tif").write_bytes((all_slides / "images/normal_001.tif").read_bytes())
    tile_slides.main(replace(options, slides=root))
    assert json.loads((options.out / "tiles.json").read_text())["synthetic"] is True


def test_second_run_into_the_same_folder_at_once_is_refused(options):
    options.out.mkdir()
    with FileLock(options.out / ".lock"), pytest.raises(DatasetError, match="Another run writes"):
        tile_slides.main(options)


def test_at_most_max_tiles_a_slide_and_label_are_drawn(options):
    rows = read_rows(tile_slides.main(replace(options, max_tiles=3)))
    for slide in {row["slide"] for row in rows}:
        labels = [row["label"] for row in rows if row["slide"] == slide]
        assert labels.count("normal") == 3
        assert labels.count("tumor") == (3 if slide.startswith("tumor") else 0)


def test_same_slide_under_two_names_is_left_out(all_slides, options, tmp_path, caplog):
    root = tmp_path / "copies"
    root.mkdir()
    for name in ("a", "b"):
        (root / f"{name}.tif").write_bytes((all_slides / "images/normal_001.tif").read_bytes())
    rows = read_rows(tile_slides.main(replace(options, slides=root)))
    assert {row["slide"] for row in rows} == {"a"}
    assert "b is the same file as a" in caplog.text


def test_tumor_classifier_trains_straight_from_slides(options, tmp_path):
    tile_slides.main(replace(options, tile_size=96, min_tissue=0.5))
    run_dir = camelyon16_resnet18.main(
        camelyon16_resnet18.Options(
            data_root=options.out,
            runs_root=tmp_path / "runs",
            epochs=1,
            max_train_images=16,
            device="cpu",
            backbone="squeezenet1_1",
            backbone_weights="random",
            num_workers=1,
        )
    )
    _, summary = read_finished(run_dir)
    tiles = read_slide_tiles(options.out)
    assert summary["data"]["synthetic"] is False
    assert sum(summary["splits"]["test"]["images"].values()) == len(tiles.of_split("test"))


def test_dataset_gives_the_tile_that_the_manifest_names(all_tiles):
    tiles = read_slide_tiles(all_tiles)
    samples = list(reversed(tiles.samples))[:40]
    data = SlideTileDataset(samples, tiles.classes, 64)
    for index in (0, 17, 39):
        entry = data[index]
        assert entry["image"].shape == (3, 64, 64)
        assert str(entry["image"].dtype) == "torch.uint8"
        assert tiles.classes[entry["label"]] == samples[index].label
        assert (entry["index"], entry["features"]) == (index, {})
        _, table = read_table(samples[index].path)
        row = table.sample_ids.index(samples[index].sample_id)
        with h5py.File(samples[index].path) as file:
            expected = file["image"][row]
        np.testing.assert_array_equal(entry["image"].permute(1, 2, 0).numpy(), expected)


def test_a_file_that_was_cut_again_since_the_manifest_was_written_is_refused(tiles_dir):
    tiles = read_slide_tiles(tiles_dir)
    path = tiles.samples[0].path
    facts, table = read_table(path)
    with open_tiles(path) as file:
        images = [tile.tobytes() for tile in file["image"]]
    # Of another slide of this name.
    write_tiles(path, replace(facts, slide_sha256="f" * 64), table, images)
    changed = SlideTileDataset(tiles.samples, tiles.classes, 64)
    with pytest.raises(DatasetError, match=r"cut again since tiles\.csv was written"):
        changed[0]


def test_too_few_slides_to_train_on_are_refused_clearly(one_slide):
    tile_slides.main(one_slide)
    with pytest.raises(DatasetError, match="too few slides.*Cut more slides"):
        read_slide_tiles(one_slide.out)


def test_options_of_folders_are_refused_with_tiles_of_slides(all_tiles):
    with pytest.raises(ValueError, match=r"--group-pattern is for tiles in folders"):
        camelyon16_resnet18.main(
            camelyon16_resnet18.Options(data_root=all_tiles, group_pattern="x", device="cpu")
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../x.h5"}, "leads out"),
        ({"path": "slides/gone.h5"}, "no file"),
        ({"split": "dev"}, "split 'dev' is none of"),
        ({"label": "odd"}, "label 'odd' is none of"),
    ],
)
def test_bad_rows_of_the_manifest_are_refused(tiles_dir, change, message):
    path = tiles_dir / TILES_NAME
    rows = read_rows(path)
    rows[0].update(change)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(DatasetError, match=message):
        read_slide_tiles(tiles_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mpp": None}, "--mpp.*or --level"),
        ({"level": 0}, "not both"),
        ({"mpp": 0.0}, "--mpp must be above 0"),
        ({"mpp": float("nan")}, "--mpp must be above 0"),
        ({"tile_size": 4}, "--tile-size must be 8"),
        ({"overlap": 64}, "--overlap must be"),
        ({"min_tissue": 1.5}, "--min-tissue"),
        ({"normal_to": 0.6}, "--normal-to must be"),
        ({"val_fraction": 0.9}, "--val-fraction and --test-fraction"),
        ({"workers": 0}, "--workers must be 1"),
        ({"max_tiles": 0}, "--max-tiles must be 1"),
    ],
)
def test_impossible_options_are_refused_with_the_flag(options, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(options, **changes)


def test_slide_counts_are_compared_with_the_published_ones(options):
    with pytest.raises(DatasetError, match=r"tumor_\*: 4 slides, published 111"):
        tile_slides.main(replace(options, check_counts=True))


def test_wrong_folders_and_repeated_names_are_refused(options, all_slides, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="No slides under"):
        tile_slides.main(replace(options, slides=tmp_path / "empty"))
    with pytest.raises(DatasetError, match="--annotations"):
        tile_slides.main(replace(options, annotations=tmp_path / "gone"))
    for name in ("a/x.tif", "b/x.tif"):
        (tmp_path / "empty" / name).parent.mkdir()
        (tmp_path / "empty" / name).write_bytes(b"")
    with pytest.raises(DatasetError, match="Two slides of one name"):
        tile_slides.main(replace(options, slides=tmp_path / "empty"))


def test_help_documents_the_command(python):
    text = python("experiments/tile_slides.py", "--help").stdout
    assert "python experiments/tile_slides.py" in text
    assert "--min-tissue" in text


@pytest.mark.skipif("LEUKOFUSE_REAL_DATA" not in os.environ, reason="LEUKOFUSE_REAL_DATA not set")
def test_tumor_tiles_of_the_real_slide_lie_on_its_lesions(tmp_path):
    root = Path(os.environ["LEUKOFUSE_REAL_DATA"]) / "camelyon16"
    options = tile_slides.Options(slides=root, out=tmp_path, level=0, tile_size=32)
    rows = read_rows(tile_slides.main(options))
    tumor = [(int(row["x"]), int(row["y"])) for row in rows if row["label"] == "tumor"]
    assert len(tumor) >= 5
    for x, y in tumor:
        assert 2100 <= x <= 2400
        assert 3750 <= y <= 4250


@pytest.mark.skipif("LEUKOFUSE_REAL_DATA" not in os.environ, reason="LEUKOFUSE_REAL_DATA not set")
def test_real_slide_without_mpp_fails_alone(tmp_path, caplog):
    root = Path(os.environ["LEUKOFUSE_REAL_DATA"]) / "slides"
    options = tile_slides.Options(slides=root, out=tmp_path, mpp=0.5)
    with pytest.raises(SystemExit):
        tile_slides.main(options)
    assert "tcga-cr-7395-01a-01-ts1" in caplog.text
    assert "--level 0" in caplog.text
    assert {row["slide"] for row in read_rows(tmp_path / TILES_NAME)} == {"cmu-1-small-region"}
