"""shift.py: own test, other sets and corruptions, from predictions to tables."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from datasets.cells import open_cells
from datasets.errors import DatasetError
from datasets.samples import SampleSet
from datasets.synthetic.storage import write_marker
from datasets.taxonomy import WBC_CLASSES
from experiments import shift
from experiments.classifiers import train_classifier
from experiments.options import RunOptions
from experiments.reporting import canvas, figures_shift
from experiments.reporting.load_runs import find_finished
from experiments.shift_predictions import CLEAN, Grade, predict_grades
from models.encoder_spec import EncoderSpec
from models.registry import FusionSpec, SmallCnnSpec
from trainers.errors import RunError
from trainers.prediction import Predictor, launch_prediction
from trainers.restore import RestoredClassifier

PREFIXES = {"eosinophil": "EO", "lymphocyte": "LY", "neutrophil": "SNE"}
METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


def options_of(bundle: Path, root: Path) -> dict:
    return {
        "data_root": bundle, "runs_root": root, "cache_root": root / "cache", "epochs": 2,
        "device": "cpu", "precision": "32-true", "lr": 1e-3, "batch_size": 4,
    }  # fmt: skip


@pytest.fixture(scope="module")
def cells(tiny_bundle: Path) -> SampleSet:
    return open_cells(tiny_bundle, 100)


@pytest.fixture(scope="module")
def run_dir(tiny_bundle: Path, cells: SampleSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small CNN on synthetic cells."""
    options = RunOptions(**options_of(tiny_bundle, tmp_path_factory.mktemp("runs")))
    spec = SmallCnnSpec("baseline")
    folder = Path("small", "seed-0")
    return train_classifier(options, folder, cells, spec, options.trainer_config(1)).path


def lay_out(root: Path, cells: SampleSet, split: str) -> Path:
    """Write three classes of a split in the layout of PBC, and two platelets."""
    write_marker(root, {})
    folder = root / "PBC_dataset_normal_DIB"
    for number, sample in enumerate(cells.of_split(split)):
        if sample.label in PREFIXES and sample.mask_path is None:
            target = folder / sample.label / f"{PREFIXES[sample.label]}_{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(sample.path.read_bytes())
    for number in range(2):
        (folder / "platelet").mkdir(exist_ok=True)
        platelet = Image.new("RGB", (20, 20), (number, 9, 9))
        platelet.save(folder / "platelet" / f"PLATELET_{number}.png")
    return root


@pytest.fixture(scope="module")
def unseen(cells: SampleSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("unseen"), cells, "test")


@pytest.fixture(scope="module")
def done(run_dir: Path, unseen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole shift on the own test and another set."""
    out = tmp_path_factory.mktemp("shift") / "out"
    shift.main(options_for(run_dir, out, test=(f"pbc={unseen}",)))
    return out


def options_for(run_dir: Path, out: Path, **more: object) -> shift.Options:
    settings = {"find_copies": False, "batch_size": 5, "device": "cpu", "num_workers": 2} | more
    return shift.Options(run_dir, out=out, **settings)


def read_predictions(path: Path) -> tuple[pd.Series, pd.DataFrame]:
    frame = pd.read_csv(path)
    probs = frame.filter(like="prob_")
    return frame["label"], probs.rename(columns=lambda name: name.removeprefix("prob_"))


def score(labels: pd.Series, probs: pd.DataFrame) -> list[float]:
    preds = probs.idxmax(axis=1)
    return [
        accuracy_score(labels, preds),
        np.mean([(preds[labels == name] == name).mean() for name in labels.unique()]),
        f1_score(labels, preds, labels=list(probs), average="macro", zero_division=0),
    ]


def test_clean_images_give_the_runs_own_test_result(done: Path, run_dir: Path):
    labels, probs = read_predictions(done / "predictions" / "own.csv")
    expected_labels, expected = read_predictions(run_dir / "predictions.csv")
    assert labels.tolist() == expected_labels.tolist()
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    assert expected.std().max() > 1e-3, "constant: equality shows nothing"
    table = pd.read_csv(done / "shift.csv")
    written, again = (table[(table["test"] == "own") & (table["scope"] == scope)].iloc[0]
                      for scope in ("as the run wrote it", "all"))  # fmt: skip
    summary = json.loads((run_dir / "summary.json").read_text())["test"]
    for name in METRICS:
        assert again[name] == written[name] == pytest.approx(summary[name], abs=1e-4)
    assert json.loads((done / "shift.json").read_text())["difference_to_run"] < 1e-5


def test_clean_images_of_a_fused_run_are_predicted_as_they_are_in_predictions(cells):
    torch.manual_seed(0)
    model = FusionSpec((EncoderSpec("autoencoder"),)).build(5, "random").eval()
    restored = RestoredClassifier(Path("run"), model, WBC_CLASSES, {}, {})
    predictor = Predictor(restored, launch_prediction({"precision": "32-true"}, "cpu", "run"))
    samples = cells.of_split("test")[:2]
    dark = Grade("brightness", 5)
    found = predict_grades(predictor, samples, [CLEAN, dark], seed=0, batch_size=2, num_workers=1)
    expected = predictor.predict([sample.path for sample in samples], batch_size=2).probs
    np.testing.assert_allclose(found[CLEAN], expected, atol=1e-6)
    assert np.abs(found[dark] - expected).max() > 1e-4


def test_every_row_of_the_table_is_what_its_predictions_say(done: Path):
    table = pd.read_csv(done / "shift.csv", keep_default_na=False)
    rows = table[table["scope"] == "all"].to_dict("records")
    assert len(rows) == 1 + 6 * 5 + 1
    seen = set()
    for row in rows:
        name = row["test"] if row["corruption"] == "none" else (
            f"{row['test']}-{row['corruption']}-{row['severity']}"
        )  # fmt: skip
        seen.add(f"{name}.csv")
        labels, probs = read_predictions(done / "predictions" / f"{name}.csv")
        assert [row[m] for m in METRICS] == pytest.approx(score(labels, probs), abs=6e-5)
        held = probs[[n for n in probs if n in set(labels)]]
        assert row["restricted_to"] == " ".join(held)
        restricted = [row[f"restricted_{m}"] for m in METRICS]
        assert restricted == pytest.approx(score(labels, held), abs=6e-5)
        assert restricted[1] == pytest.approx(
            balanced_accuracy_score(labels, held.idxmax(axis=1)), abs=6e-5
        )
        assert row["images"] == len(labels)
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert {path.name for path in (done / "predictions").iterdir()} == seen


def test_json_holds_the_summarys_metrics_with_restricted_ones(done: Path):
    content = json.loads((done / "shift.json").read_text())
    table = pd.read_csv(done / "shift.csv")
    assert len(content["results"]) == len(table)
    for entry, row in zip(content["results"], table.to_dict("records"), strict=True):
        assert (entry["test"], entry["severity"]) == (row["test"], row["severity"])
        for name in METRICS:
            assert entry["metrics"][name] == pytest.approx(row[name], abs=6e-5)
        restricted = entry["metrics"].get("restricted")
        if len(row["restricted_to"].split()) < 5:
            for name in METRICS:
                assert restricted[name] == pytest.approx(row[f"restricted_{name}"], abs=6e-5)
    assert content["corruptions"]["jpeg"]["amounts"] == [50, 30, 20, 10, 5]
    assert content["synthetic"] is True


def test_other_set_is_mapped_counted_and_stands_beside_the_own_classes(done: Path, cells):
    content = json.loads((done / "shift.json").read_text())
    assert content["other_tests"]["pbc"]["left_out"] == {"no common counterpart: platelet": 2}
    table = pd.read_csv(done / "shift.csv").set_index(["test", "scope"])
    other, reference = table.loc[("pbc", "all")], table.loc[("own", "pbc")]
    assert other["images"] == sum(s.label in PREFIXES for s in cells.of_split("test"))
    # The same images in other files: the same scores, among the same classes.
    for name in (*METRICS, "images", "groups", "restricted_accuracy"):
        assert other[name] == reference[name]
    assert reference["restricted_to"] == " ".join(PREFIXES)
    by_class = pd.read_csv(done / "classes.csv").set_index(["test", "class"])
    assert by_class.loc[("pbc", "basophil"), "support"] == 0
    assert by_class.loc[("pbc", "neutrophil"), "support"] > 0


def test_pictures_are_drawn(done: Path):
    names = {path.name for path in done.glob("*.png")}
    assert names == {
        "tests.png", "confusion-pbc.png", "corruptions.png", "corruption_examples.png"
    }  # fmt: skip
    for name in names:
        with Image.open(done / name) as picture:
            assert min(picture.size) > 200
            assert np.asarray(picture).std() > 5


@pytest.mark.parametrize("kinds", [("blur",), ("blur", "noise", "jpeg")])
def test_the_title_over_the_curves_lies_within_the_picture(kinds, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures_shift, "to_pixels", lambda figure, **_: drawn.append(figure))
    rows = [
        {"corruption": kind, "severity": severity, "amount": 0.5 * severity, "unit": "px"}
        for kind in ("none", *kinds)
        for severity in (range(1, 6) if kind != "none" else (0,))
    ]
    table = pd.DataFrame(rows).assign(test="own", scope="all", images=413, groups=412)
    for name in ("accuracy", "balanced_accuracy"):
        table[name] = table[f"{name}_low"] = table[f"{name}_high"] = 0.5
    title = "fused_wbc, seed 0, learnt from PBC_dataset_normal_DIB, corrupted images of own"
    figures_shift.draw_corruption_curves(
        table, "own", dict.fromkeys(kinds, "kind"), title, is_synthetic=False
    )
    canvas.to_pixels(drawn[0])
    heading = next(text for text in drawn[0].texts if "fused_wbc" in text.get_text())
    box = heading.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= drawn[0].bbox.x1


def test_run_folder_is_left_untouched_and_the_text_fits(run_dir, unseen, tmp_path, capsys):
    def look() -> dict:
        return {p: p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.is_file()}

    before = look()
    options = options_for(run_dir, tmp_path / "out", test=(f"pbc={unseen}",), max_images=6,
                          corrupt="pbc", kinds=("noise",))  # fmt: skip
    table = shift.main(options)
    assert look() == before
    assert find_finished([tmp_path]) == [], "must not be taken for a run"
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if not line.startswith("Written to")]
    assert max(map(len, lines)) <= 80
    assert "SYNTHETIC" in printed
    assert "balanced accuracy on pbc by severity" in printed
    assert "pbc under corruptions: n = 6 images in 6 groups;\nintervals: shift.csv" in printed
    assert Counter(table["corruption"]) == {"none": 3, "noise": 5}
    assert set(table[table["test"] == "pbc"]["images"]) == {6}


def test_corruptions_are_repeatable_and_follow_the_seed(run_dir, tmp_path):
    def noise(name: str, **more: object) -> pd.DataFrame:
        out = tmp_path / name
        shift.main(options_for(run_dir, out, kinds=("noise",), **more))
        return read_predictions(out / "predictions" / "own-noise-5.csv")[1]

    first = noise("a")
    assert noise("b", num_workers=1).equals(first)
    assert not np.allclose(noise("c", seed=1), first, atol=1e-6)


def test_images_that_were_trained_on_are_refused(run_dir, cells, tmp_path):
    root = lay_out(tmp_path / "train", cells, "train")
    with pytest.raises(DatasetError, match="trained or selected on .* of these"):
        shift.main(options_for(run_dir, tmp_path / "out", test=(f"pbc={root}",), corrupt="none"))


def test_run_that_does_not_say_what_it_saw_is_refused(run_dir, unseen, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(run_dir, old)
    (old / "seen_images.txt").unlink()
    with pytest.raises(RunError, match="does not say which images it learnt from"):
        shift.main(options_for(old, tmp_path / "out", test=(f"pbc={unseen}",), corrupt="none"))


def test_real_images_do_not_meet_a_synthetic_run(run_dir, unseen, tmp_path):
    (shutil.copytree(unseen, tmp_path / "real") / "SYNTHETIC.json").unlink()
    with pytest.raises(ValueError, match="images are real, those of the run synthetic"):
        shift.main(options_for(run_dir, tmp_path / "out", test=(f"pbc={tmp_path / 'real'}",)))


def test_own_images_that_are_not_there_or_are_others_are_refused(
    run_dir, tiny_bundle, tmp_path, monkeypatch
):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="--data-root .*--cache-root .*--corrupt none"):
        shift.main(options_for(run_dir, tmp_path / "out", data_root=tmp_path / "empty"))
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    for number, path in enumerate(sorted(other.rglob("*.jpg"))):
        Image.new("RGB", (48, 48), (255, number % 256, number // 256)).save(path)
    monkeypatch.setattr("experiments.own_images.MAX_MEAN_DIFFERENCE", 1e-4)
    with pytest.raises(RunError, match="do not give the predictions that it wrote"):
        shift.main(options_for(run_dir, tmp_path / "out", data_root=other))


def test_earlier_results_are_replaced_only_when_asked(run_dir, tmp_path):
    options = options_for(run_dir, tmp_path / "out", kinds=("blur",), max_images=5)
    shift.main(options)
    with pytest.raises(ValueError, match="Pass --overwrite"):
        shift.main(options)
    own = tmp_path / "out" / "smear.png"
    own.write_text("not of shift.py")
    (tmp_path / "out" / "confusion-pbc.png").write_text("of an earlier test")
    shift.main(replace(options, kinds=("jpeg",), overwrite=True))
    assert not list((tmp_path / "out" / "predictions").glob("own-blur-*"))
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"corruptions.png", "corruption_examples.png", "smear.png"}


def test_a_request_that_is_refused_leaves_the_earlier_results(run_dir, tmp_path):
    out = tmp_path / "out"
    (out / "predictions").mkdir(parents=True)
    earlier = [out / name for name in ("shift.json", "tests.png", "predictions/own.csv")]
    for path in earlier:
        path.write_text("earlier")
    missing = tmp_path / "missing"
    options = options_for(run_dir, out, test=(f"prepared={missing}",), overwrite=True)
    with pytest.raises(DatasetError, match="missing"):
        shift.main(options)
    assert [path.read_text() for path in earlier] == ["earlier"] * 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"test": ("pbc",)}, "--test pbc: expected SOURCE=DIR"),
        ({"test": ("pbc=a", "pbc=b")}, "--test: pbc would name two tests"),
        ({"test": ("prepared=own",)}, "--test: own would name two tests"),
        ({"corrupt": "bccd"}, "--corrupt bccd is none of own, none"),
        ({"corrupt": "none"}, "Nothing to do"),
        ({"kinds": ()}, "--kinds takes"),
        ({"labels": Path("labels.csv")}, "--labels is of use to --test bccd=DIR only"),
        ({"margin": 0.2, "test": ("pbc=a",)}, "--margin is of use"),
        ({"max_images": 0}, "--max-images must be at least 1"),
        ({"seed": -1}, "--seed must be 0 or more"),
        ({"out": Path("run/shift")}, "lies in the run's own folder"),
    ],
)
def test_wrong_options_are_refused_naming_the_flag(more: dict, message: str):
    with pytest.raises(ValueError, match=message):
        shift.Options(Path("run"), **more)


def test_default_folder_lies_outside_the_runs(run_dir):
    run = find_finished([run_dir])[0]
    name = "-".join(run_dir.resolve().parts[-3:])
    assert shift.find_out(run) == Path("runs/synthetic/shift", name)


def test_help_documents_every_flag(python):
    text = python("experiments/shift.py", "--help").stdout
    assert "python experiments/shift.py RUN" in text
    assert "--corrupt" in text
