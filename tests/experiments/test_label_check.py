"""audit_data.py --labels, on synthetic cells with exchanged labels and on finished runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.errors import DatasetError
from datasets.label_noise import find_suspects, find_unnamed
from datasets.synthetic.cells import draw_cell
from experiments import audit_data, label_check

CLASSES = ("eosinophil", "lymphocyte", "neutrophil")
PER_CLASS = 20
EXCHANGED = 2


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells in class folders; the last two of each class lie in the next one's folder."""
    root = tmp_path_factory.mktemp("mislabelled")
    for number, name in enumerate(CLASSES):
        for index in range(PER_CLASS):
            is_wrong = index >= PER_CLASS - EXCHANGED
            folder = root / CLASSES[(number + is_wrong) % len(CLASSES)]
            folder.mkdir(exist_ok=True)
            pixels, _ = draw_cell(name, 64, np.random.default_rng(100 * number + index))
            mark = "wrong" if is_wrong else "right"
            Image.fromarray(pixels).save(folder / f"{mark}_{name}_{index}.png")
    return root


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_exchanged_labels_of_a_folder_are_listed_and_shown(
    mislabelled: Path, tmp_path: Path, capsys
):
    options = audit_data.Options(
        (mislabelled,), out=tmp_path / "out", labels=True, cache_root=tmp_path, exact=True
    )
    check = audit_data.check_labels(options)
    rows = read_rows(tmp_path / "out")
    wrong = [row for row in rows if "wrong_" in row["image"]]
    assert len(wrong) >= 5, "of 6 exchanged labels"
    assert len(wrong) >= 0.5 * len(rows)
    assert rows[:4] == wrong[:4], "the strongest contradictions are those that were made"
    for row in wrong:
        assert f"wrong_{row['looks_like']}" in row["image"]
        assert Path(row["image"]).parent.name == row["label"]
    assert len(check.suspects) == len(rows)
    with Image.open(tmp_path / "out" / "labels.png") as sheet:
        assert sheet.width > 500
    printed = capsys.readouterr().out
    assert "60 of 60 labels checked" in printed
    assert f"{len(rows)} LABELS TO LOOK AT" in printed


def write_run(folder: Path, data_root: Path, name: str = "cells") -> Path:
    """Write a finished run whose predictions contradict one label of its test."""
    files = sorted((data_root / "eosinophil").glob("right*")) + sorted(
        (data_root / "lymphocyte").glob("right*")
    )
    ids = [path.relative_to(data_root).as_posix() for path in files]
    truth = [Path(name).parent.name for name in ids]
    rows = [
        [ids[i], ids[i], truth[i], *((0.97, 0.03) if truth[i] == "eosinophil" else (0.03, 0.97))]
        for i in range(len(ids))
    ]
    rows[5][2] = "lymphocyte"
    folder.mkdir(parents=True)
    header = ["sample_id", "group", "label", "prob_eosinophil", "prob_lymphocyte"]
    for file, chosen in (("predictions.csv", rows[1::2]), ("val_predictions.csv", rows[::2])):
        with (folder / file).open("w", newline="") as opened:
            csv.writer(opened).writerows([header, *chosen])
    summary = {
        "experiment": "base_wbc", "seed": 0, "splits": {}, "epochs": 1, "seconds": 1,
        "data": {"name": name, "synthetic": False},
        "test": {"per_class": {"eosinophil": {}, "lymphocyte": {}}},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.json").write_text(json.dumps({"options": {"data_root": str(data_root)}}))
    return folder


def test_runs_are_judged_by_their_validation_and_test_predictions(
    mislabelled: Path, tmp_path: Path
):
    run = write_run(tmp_path / "runs" / "seed-0", mislabelled)
    options = audit_data.Options((run,), out=tmp_path / "out", labels=True)
    check = audit_data.check_labels(options)
    assert len(check.images) == 2 * (PER_CLASS - EXCHANGED)
    (row,) = read_rows(tmp_path / "out")
    assert (row["label"], row["looks_like"], row["split"]) == ("lymphocyte", "eosinophil", "test")
    assert float(row["looks_like_prob"]) == pytest.approx(0.97)
    assert check.open_picture(check.suspects[0].index) is not None


def test_runs_of_two_data_sets_and_runs_beside_images_are_refused(
    mislabelled: Path, tmp_path: Path
):
    first = write_run(tmp_path / "a", mislabelled)
    other = write_run(tmp_path / "b", mislabelled, name="other cells")
    with pytest.raises(ValueError, match=r"one data set.*other cells \(2 classes\)"):
        audit_data.check_labels(audit_data.Options((first, other), labels=True))
    with pytest.raises(ValueError, match="finished runs or sets of images, not both"):
        audit_data.check_labels(audit_data.Options((first, mislabelled), labels=True))


def test_a_run_that_names_one_class_for_everything_contradicts_no_label(
    mislabelled: Path, tmp_path: Path, capsys
):
    run = write_run(tmp_path / "runs" / "seed-0", mislabelled)
    for name in ("predictions.csv", "val_predictions.csv"):
        rows = (run / name).read_text().replace("0.03,0.97", "0.96,0.04")
        (run / name).write_text(rows)
    check = audit_data.check_labels(audit_data.Options((run,), out=tmp_path / "out", labels=True))
    printed = capsys.readouterr().out
    assert list(check.suspects) == []
    assert read_rows(tmp_path / "out") == []
    assert "means nothing" in printed
    assert "--backbone-weights" in printed
    assert "contradicted" not in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80


def test_images_of_a_class_that_is_never_named_are_not_listed():
    labels = [0] * 20 + [1] * 20 + [2] * 2
    probs = np.full((len(labels), 3), 0.01)
    for row, label in enumerate(labels):
        # The second class has one true contradiction; the third is called the first.
        pred = 0 if label == 2 or row == 25 else label
        probs[row, pred] = 0.98
    assert [suspect.index for suspect in find_suspects(probs, labels)] == [25]
    assert find_unnamed(probs, labels) == [2]


def test_a_set_of_one_class_is_refused_before_it_is_searched(
    mislabelled: Path, tmp_path: Path, monkeypatch
):
    shutil.copytree(mislabelled / "eosinophil", tmp_path / "set" / "eosinophil")
    monkeypatch.setattr(label_check, "find_clusters", lambda *_, **__: pytest.fail("searched"))
    options = audit_data.Options((tmp_path / "set",), labels=True, cache_root=tmp_path / "cache")
    with pytest.raises(DatasetError, match=r"1 class.*Folders are taken as classes.*prepare_wbc"):
        audit_data.check_labels(options)


def test_a_set_of_one_class_is_refused(mislabelled: Path, tmp_path: Path):
    shutil.copytree(mislabelled / "eosinophil", tmp_path / "set" / "eosinophil")
    options = audit_data.Options(
        (tmp_path / "set",), labels=True, cache_root=tmp_path / "cache", exact=True
    )
    with pytest.raises(DatasetError, match="two classes and two groups are needed"):
        audit_data.check_labels(options)
