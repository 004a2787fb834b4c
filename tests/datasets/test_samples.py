"""Sample sets and manifests."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from datasets.cells import open_cells
from datasets.errors import DatasetError
from datasets.folders import find_class_folders, read_folders
from datasets.listing import list_labelled_images
from datasets.manifest import (
    MANIFEST_COLUMNS,
    MANIFEST_NAME,
    read_manifest,
    write_manifest,
)
from datasets.samples import hash_file, limit_training
from datasets.taxonomy import LABEL_PERCENTS, WBC_CLASSES


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder-per-class set of twelve images a class, all different."""
    root = tmp_path / "set"
    for row, name in enumerate(WBC_CLASSES):
        (root / name.capitalize()).mkdir(parents=True)
        for index in range(12):
            colour = (row * 40, index * 20, 7)
            Image.new("RGB", (6, 6), colour).save(root / name.capitalize() / f"{index:02d}.png")
    return root


@pytest.fixture
def prepared(folders: Path, tmp_path: Path) -> Path:
    cells = read_folders(folders)
    write_manifest(tmp_path / "out", cells.samples, folders, {"classes": list(cells.classes)})
    return tmp_path / "out"


def rewrite(prepared: Path, change) -> None:
    path = prepared / MANIFEST_NAME
    rows = list(csv.DictReader(path.open()))
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, MANIFEST_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def test_manifest_brings_back_the_same_set(folders: Path, prepared: Path):
    written, read = read_folders(folders), read_manifest(prepared)
    assert read.fingerprint == written.fingerprint
    assert [s.group for s in read.samples] == [s.group for s in written.samples]
    assert read.classes == WBC_CLASSES


def test_a_set_that_cannot_be_replaced_stays_with_both_its_files(
    folders: Path, prepared: Path, monkeypatch
):
    names = (MANIFEST_NAME, "manifest.json")
    before = [(prepared / name).read_bytes() for name in names]

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", fail)
    with pytest.raises(OSError, match="No space left"):
        write_manifest(prepared, read_folders(folders).samples, folders, {"name": "other"})
    assert [(prepared / name).read_bytes() for name in names] == before


def test_every_class_is_in_every_split_and_subset(prepared: Path):
    cells = read_manifest(prepared)
    for percent in LABEL_PERCENTS:
        cells.require_all_classes(percent)
        assert min(cells.count("train", percent).values()) >= 1


def test_subsets_are_nested(prepared: Path):
    cells = read_manifest(prepared)
    ids = [{s.sample_id for s in cells.of_split("train", p)} for p in LABEL_PERCENTS]
    assert ids[0] < ids[1] or ids[0] == ids[1]
    assert ids[1] < ids[2] < ids[3]


def test_same_bytes_under_two_names_share_a_group(folders: Path):
    source = folders / "Basophil" / "00.png"
    (folders / "Basophil" / "copy.png").write_bytes(source.read_bytes())
    groups = {s.path.name: s.group for s in read_folders(folders).samples if s.label == "basophil"}
    assert groups["copy.png"] == groups["00.png"]
    assert len(set(groups.values())) == 12


def test_group_pattern_keeps_a_patient_in_one_split(folders: Path):
    for name in WBC_CLASSES:
        for path in sorted((folders / name.capitalize()).iterdir()):
            path.rename(path.with_name(f"p{int(path.stem) // 3}_{path.name}"))
    cells = read_folders(folders, group_pattern=r"^(p\d)_")
    split_of = {}
    for sample in cells.samples:
        assert split_of.setdefault(sample.group, sample.split) == sample.split
    assert set(split_of) == {"p0", "p1", "p2", "p3"}


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "no regular expression"), ("zz", "matches")]
)
def test_bad_group_pattern_is_refused(folders: Path, pattern: str, message: str):
    with pytest.raises(DatasetError, match=message):
        read_folders(folders, group_pattern=pattern)


def test_unknown_class_folder_is_refused_with_the_flag_that_leaves_it_out(folders: Path):
    (folders / "Platelet").mkdir()
    with pytest.raises(DatasetError, match="--ignore-classes Platelet"):
        read_folders(folders)
    assert len(read_folders(folders, ignored=("platelet",)).samples) == 60


def test_missing_class_folder_is_refused(folders: Path):
    (folders / "Monocyte").rename(folders.parent / "elsewhere")
    with pytest.raises(DatasetError, match="lacks the class folder.*monocyte"):
        read_folders(folders)


def test_root_one_level_too_high_is_told_the_folder_to_pass(folders: Path):
    (folders.parent / "Notes").mkdir()
    with pytest.raises(DatasetError, match="it holds Notes, set.* Its folder set holds class fold"):
        find_class_folders(folders.parent)
    with pytest.raises(DatasetError, match="Pass --classes if the set has other ones"):
        find_class_folders(folders, ("blast",))


def test_class_folders_that_differ_only_in_case_are_refused_by_both_names(tmp_path: Path):
    for name in ("A", "a", "b"):
        (tmp_path / name).mkdir()
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system does not tell case apart")
    with pytest.raises(DatasetError, match="both A and a, which differ only in case"):
        find_class_folders(tmp_path, ("a", "b"))


def test_class_that_is_asked_for_twice_is_refused(folders: Path):
    with pytest.raises(DatasetError, match="--classes names monocyte more than once"):
        find_class_folders(folders, (*WBC_CLASSES, "Monocyte"))


def test_name_that_is_no_utf8_is_refused_before_anything_is_read(folders: Path):
    odd = folders / "Basophil" / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    try:
        odd.write_bytes(b"bad")
    except OSError:
        pytest.skip("this file system refuses such names")
    for skip in (False, True):
        with pytest.raises(DatasetError, match=r"caf.udce9\.png: the name is not UTF-8.*Rename"):
            read_folders(folders, skip_unreadable=skip)
    assert odd in {image.path for image in list_labelled_images(folders).images}


def test_empty_class_folder_is_refused(folders: Path):
    for path in (folders / "Monocyte").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no readable image of class monocyte"):
        read_folders(folders)


def test_unreadable_files_are_counted_or_refused(folders: Path):
    (folders / "Basophil" / "bad.png").write_bytes(b"bad")
    cells = read_folders(folders, skip_unreadable=True)
    assert cells.skipped == ("Basophil/bad.png",)
    assert len(cells.samples) == 60
    with pytest.raises(DatasetError, match=r"bad\.png"):
        read_folders(folders, check_readable=True)


def test_missing_root_is_refused_with_what_is_expected(tmp_path: Path):
    with pytest.raises(DatasetError, match="No WBC images under.*one folder a class"):
        open_cells(tmp_path, 100)


def test_a_training_that_meets_an_unknown_folder_is_sent_to_the_script_that_leaves_it_out(
    folders: Path,
):
    (folders / "Large Platelet").mkdir()
    with pytest.raises(
        DatasetError,
        match=r"prepare_wbc\.py --root .* --out data/wbc --ignore-classes 'Large Platelet'; then "
        r"--data-root data/wbc",
    ):
        open_cells(folders, 100)


def test_path_out_of_the_image_root_is_refused(prepared: Path):
    rewrite(prepared, lambda rows: rows[3].update(path="../../etc/passwd"))
    with pytest.raises(DatasetError, match=r"line 5: path '\.\./\.\./etc/passwd' leads out"):
        read_manifest(prepared)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "Basophil/gone.png"}, "no file"),
        ({"split": "dev"}, "split 'dev' is none of train, val, test"),
        ({"split": "train", "subset": "7"}, "subset '7'.*none of 1, 10, 50, 100"),
        ({"label": "platelet"}, "label 'platelet'"),
    ],
)
def test_bad_rows_are_refused(prepared: Path, change: dict, message: str):
    rewrite(prepared, lambda rows: rows[0].update(change))
    with pytest.raises(DatasetError, match=message):
        read_manifest(prepared)


def test_manifest_that_excel_marked_is_read(prepared: Path):
    path = prepared / MANIFEST_NAME
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_manifest(prepared).samples) == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[0], "a,,x,test,g,,h"], r"line 2: path is empty"),
        (lambda lines: [lines[0], "a"], r"line 2: path is empty"),
        (lambda lines: [lines[0]], "has no rows"),
        (lambda lines: [line.replace(",", ";") for line in lines], "separator must be a comma"),
        (lambda lines: [*lines[:3], "x" * 200_000], r"line 4: field too long"),
    ],
    ids=["empty path", "no path", "no rows", "semicolons", "long field"],
)
def test_manifest_that_cannot_be_used_says_why(prepared: Path, change, message: str):
    path = prepared / MANIFEST_NAME
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(DatasetError, match=rf"manifest\.csv.*{message}"):
        read_manifest(prepared)


def test_repeated_sample_id_is_refused(prepared: Path):
    rewrite(prepared, lambda rows: rows[1].update(sample_id=rows[0]["sample_id"]))
    with pytest.raises(DatasetError, match="stands more than once"):
        read_manifest(prepared)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00", b""])
def test_file_that_is_no_manifest_is_refused(prepared: Path, content: bytes):
    (prepared / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(DatasetError, match=r"manifest\.csv"):
        read_manifest(prepared)


def test_group_in_two_splits_is_refused(prepared: Path):
    def straddle(rows):
        train = next(row for row in rows if row["split"] == "train")
        test = next(row for row in rows if row["split"] == "test")
        test["group"] = train["group"]

    rewrite(prepared, straddle)
    with pytest.raises(DatasetError, match="is in two splits"):
        open_cells(prepared, 100)


def test_same_file_in_train_and_test_is_refused(prepared: Path, folders: Path):
    cells = read_manifest(prepared)
    train, test = cells.of_split("train")[0], cells.of_split("test")[0]
    test.path.write_bytes(train.path.read_bytes())
    rewrite(prepared, lambda rows: [r.update(sha256=hash_file(folders / r["path"])) for r in rows])
    with pytest.raises(DatasetError, match="file content .* is in two splits"):
        open_cells(prepared, 100)


def test_limit_keeps_classes_and_nesting(prepared: Path):
    limited = limit_training(read_manifest(prepared), 10)
    assert sum(limited.count("train").values()) == 10
    assert min(limited.count("train", 1).values()) == 1
    assert limited.count("test") == read_manifest(prepared).count("test")
    with pytest.raises(DatasetError, match="--max-train-images 3"):
        limit_training(read_manifest(prepared), 3)


def test_fingerprint_sees_changed_pixels(folders: Path):
    before = read_folders(folders).fingerprint
    Image.new("RGB", (6, 6), (1, 2, 3)).save(folders / "Basophil" / "00.png")
    assert read_folders(folders).fingerprint != before
