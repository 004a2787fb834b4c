"""aml_resnext.py on a few small images in the published layout, with a small backbone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from datasets.sources.aml import CODES
from experiments import aml_resnext
from experiments.aml_resnext import Options
from experiments.folds import pool_folds
from experiments.reporting.folds import pool_predictions
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.run_files import find_answerable
from tests.faults.outcomes import left_behind
from trainers.run import read_finished

USED = {"NGS": 60, "MYO": 130, "MOB": 150, "EBO": 210}
NUMBER = 10


def draw_root(root: Path, codes: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for code, gray in codes.items():
        folder = root / "AML-Cytomorphology_LMU" / code
        folder.mkdir(parents=True)
        for index in range(NUMBER):
            pixels = np.clip(rng.normal(gray, 30, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{code}_{index:04d}.tiff")
    return root


@pytest.fixture(scope="module")
def aml_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_root(tmp_path_factory.mktemp("aml"), USED)


def options_of(root: Path, out: Path, **changes) -> Options:
    fields = {
        "data_root": root,
        "runs_root": out / "runs",
        "cache_root": out / "cache",
        "backbone": "resnet10t",
        "input_size": 32,
        "epochs": 1,
        "batch_size": 8,
        "images_per_class": 6,
        "find_copies": False,
        "device": "cpu",
        "precision": "32-true",
    }
    return Options(**{**fields, **changes})


@pytest.fixture(scope="module")
def run(aml_root: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return aml_resnext.main(options_of(aml_root, tmp_path_factory.mktemp("split")))


@pytest.fixture(scope="module")
def folded(
    aml_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FinishedRun, list[FinishedRun]]:
    """The pooled run of three folds, and the folds."""
    pooled = aml_resnext.main(options_of(aml_root, tmp_path_factory.mktemp("folds"), folds=3))
    paths = [pooled.path.parents[1] / f"fold-{number}/seed-0" for number in range(3)]
    return pooled, [FinishedRun(path, *read_finished(path)) for path in paths]


def test_the_defaults_are_the_published_protocol():
    config = aml_resnext.make_config(Options(data_root=Path("x")), is_synthetic=False)
    assert (config.epochs, config.max_lr, config.images_per_class) == (20, 0.01, 10_000)
    assert (config.augment, config.stages) == ("flips-360", ())
    assert Options.backbone == "resnext50_32x4d"
    assert Options(data_root=Path("x")).find_input_size() == 400


def test_the_splits_are_80_10_10_of_each_class_and_each_class_is_shown_equally_often(run):
    for split, number in (("train", 8), ("val", 1), ("test", 1)):
        assert set(run.summary["splits"][split]["images"].values()) == {number}
    assert run.summary["steps"] == 6 * len(USED) // 8
    assert run.config["trainer"]["images_per_class"] == 6
    assert run.path.parts[-3:] == ("aml_resnext", "80-10-10", "seed-0")


def test_classes_without_an_image_are_dropped_and_named(run):
    used = {CODES[code] for code in USED}
    assert set(run.classes) == used
    assert set(run.summary["absent_classes"]) == set(CODES.values()) - used


def test_each_code_has_its_own_class(folded):
    frame = folded[0].predictions()
    codes = frame["sample_id"].str.split("/").str[0]
    assert (codes.map(CODES) == frame["label"]).all()


def test_each_image_is_tested_in_one_fold(folded, aml_root):
    pooled, folds = folded
    files = sorted(path.name for path in aml_root.rglob("*.tiff"))
    assert sorted(Path(name).name for name in pooled.predictions()["sample_id"]) == files
    tested = Counter(name for fold in folds for name in fold.predictions()["sample_id"])
    assert set(tested.values()) == {1}
    for fold in folds:
        seen = set(fold.predictions()["sample_id"]) & set(fold.val_predictions()["sample_id"])
        assert not seen


def test_the_pooled_test_is_the_sum_of_the_folds(folded):
    pooled, folds = folded
    matrices = [np.array(fold.summary["test"]["confusion_matrix"]) for fold in folds]
    assert np.array(pooled.summary["test"]["confusion_matrix"]).tolist() == sum(matrices).tolist()
    support = [row["support"] for row in pooled.summary["test"]["per_class"].values()]
    assert support == [NUMBER] * len(USED)
    losses = [fold.summary["test"]["loss"] for fold in folds]
    sizes = [len(fold.predictions()) for fold in folds]
    assert pooled.summary["test"]["loss"] == pytest.approx(np.average(losses, weights=sizes))
    for name in ("classes.csv", "confusion_matrix.png", "roc.png", "metrics.csv"):
        assert (pooled.path / name).is_file(), name


def test_a_pooled_run_that_is_there_is_looked_at_and_not_written_again(folded, tmp_path):
    pooled, folds = folded
    run_dir = tmp_path / "pooled"
    shutil.copytree(pooled.path, run_dir)
    (run_dir / ".predictions.csv.1.tmp").write_text("half")
    before = {path.name: path.stat().st_ino for path in run_dir.glob("[!.]*")}
    again = pool_folds(folds, run_dir, "folds-3")
    assert {path.name: path.stat().st_ino for path in run_dir.glob("[!.]*")} == before
    assert (again.config, again.summary) == (pooled.config, pooled.summary)
    assert left_behind(run_dir) == []


def test_finished_folds_are_shown_again_and_not_touched(folded, aml_root, capsys):
    out = folded[0].path.parents[4]

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}

    before = times()
    assert {"classes.csv", "roc.png", "binary.json"} <= {path.name for path in before}
    aml_resnext.main(options_of(aml_root, out, folds=3, resume=True))
    assert times() == before
    assert "All 3 folds, each image tested once" in capsys.readouterr().out


def test_a_pooled_run_that_was_killed_or_is_of_other_folds_is_written_anew(folded, tmp_path):
    pooled, folds = folded
    run_dir = tmp_path / "pooled"
    shutil.copytree(pooled.path, run_dir)
    (run_dir / "summary.json").unlink()
    (run_dir / "predictions.csv").write_text("of an earlier run\n")
    (run_dir / ".predictions.csv.1.tmp").write_text("half")
    pool_folds(folds, run_dir, "folds-3")
    for name in ("predictions.csv", "metrics.csv", "config.json", "summary.json"):
        assert (run_dir / name).read_bytes() == (pooled.path / name).read_bytes(), name
    assert left_behind(run_dir) == []
    two = pool_folds(folds[:2], run_dir, "folds-3")
    assert read_finished(run_dir)[1]["splits"] == two.summary["splits"] != pooled.summary["splits"]


def test_folds_that_test_an_image_twice_are_refused(folded):
    with pytest.raises(ValueError, match="images are tested in two folds"):
        pool_predictions([folded[1][0], folded[1][0]])


def test_blast_and_atypical_are_sums_of_class_probabilities(run):
    rows = {row["test"]: row for row in json.loads((run.path / "binary.json").read_text())}
    sums = {"blast": ["myeloblast", "monoblast"],
            "atypical": ["myeloblast", "monoblast", "erythroblast"]}  # fmt: skip
    frame, val = run.predictions(), run.val_predictions()
    for name, classes in sums.items():
        scores = frame[[f"prob_{label}" for label in classes]].sum(axis=1)
        expected = roc_auc_score(frame["label"].isin(classes), scores)
        assert rows[name]["auroc"] == pytest.approx(expected)
        assert set(rows[name]["classes"].split()) == set(classes)
        # The threshold is a score that validation holds.
        of_val = val[[f"prob_{label}" for label in classes]].sum(axis=1)
        assert np.isclose(of_val, rows[name]["threshold"], atol=1e-12).any()
    assert (run.path / "roc.png").is_file()


def test_each_fold_has_a_threshold_of_its_own_validation(folded):
    pooled, folds = folded
    for row in json.loads((pooled.path / "binary.json").read_text()):
        columns = [f"prob_{name}" for name in row["classes"].split()]
        hits = positives = 0
        for fold, threshold in zip(folds, row["thresholds"], strict=True):
            val = fold.val_predictions()[columns].sum(axis=1)
            assert np.isclose(val, threshold, atol=1e-12).any()
            frame = fold.predictions()
            is_positive = frame["label"].isin(row["classes"].split())
            hits += int((is_positive & (frame[columns].sum(axis=1) >= threshold - 1e-12)).sum())
            positives += int(is_positive.sum())
        assert row["sensitivity"] == pytest.approx(hits / positives)
        assert row["auroc"] == pytest.approx(np.mean(row["auroc_by_fold"]))


def test_a_single_fold_is_a_run_of_its_own(aml_root, tmp_path, folded):
    options = options_of(aml_root, tmp_path, folds=3, fold=1)
    run = aml_resnext.main(options)
    assert run.path == tmp_path / "runs/aml_resnext/folds-3/fold-1/seed-0"
    assert not (tmp_path / "runs/aml_resnext/folds-3/pooled").exists()
    pd.testing.assert_frame_equal(run.predictions(), folded[1][1].predictions())


def test_a_set_without_blasts_has_no_blast_test(tmp_path, capsys):
    assert [task.name for task in find_answerable(["eosinophil", "erythroblast"])] == ["atypical"]
    root = draw_root(tmp_path / "normal", {"NGS": 60, "EOS": 180})
    run = aml_resnext.main(options_of(root, tmp_path))
    assert "No binary test: eosinophil, neutrophil_segmented" in capsys.readouterr().out
    assert not (run.path / "roc.png").exists()
    assert (run.path / "confusion_matrix.png").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1}, "--folds must be 2 or more"),
        ({"fold": 0}, "--fold 0: a fold is of use with --folds only"),
        ({"folds": 5, "fold": 5}, "--fold 5: a fold is 0 to 4"),
        ({"input_size": 0}, "--input-size must be 1 or more"),
        ({"images_per_class": -1}, "--images-per-class must be 1 or more"),
    ],
)
def test_options_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Options(**changes)
