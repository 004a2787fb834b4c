"""compare.py on run folders made by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support

from experiments import compare
from experiments.reporting import class_tables
from experiments.reporting.alignment import align_runs
from experiments.reporting.figures_curves import number_epochs
from experiments.reporting.load_runs import find_classifiers

FILES = {
    "comparison.txt", "runs.csv", "classes.csv", "pairs.csv", "roc.png", "validation_loss.png",
    "validation_loss_by_class.png",
}  # fmt: skip


def test_tables_and_figures_of_two_runs(make_run, tmp_path, capsys):
    paths = (make_run("weak/seed-0", skill=0.5), make_run("strong/seed-0", skill=4.0, seed=1))
    out = tmp_path / "out"
    tables = compare.main(compare.Options(runs=paths, out=out))
    text = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == FILES
    assert max(map(len, (out / "comparison.txt").read_text().splitlines())) <= 80
    assert "the same 60 test images in 60 groups" in " ".join(text.split())
    assert tables["runs"]["run"].tolist() == ["weak/seed-0", "strong/seed-0"]
    assert tables["runs"]["parameters"].tolist() == [1234, 1234]
    [pair] = pd.read_csv(out / "pairs.csv").to_dict("records")
    first, second = (
        pd.read_csv(path / "predictions.csv").sort_values("sample_id", ignore_index=True)
        for path in paths
    )
    first, second = (
        frame.filter(like="prob_").idxmax(axis=1).str[-1] == frame["label"]
        for frame in (first, second)
    )
    assert pair["only_first_right"] == (first & ~second).sum()
    assert pair["only_second_right"] == (second & ~first).sum()
    assert pair["accuracy"] == pytest.approx(first.mean() - second.mean(), abs=1e-4)
    assert pair["accuracy_high"] < 0
    for name in ("roc", "validation_loss", "validation_loss_by_class"):
        assert np.asarray(Image.open(out / f"{name}.png")).std() > 5
    assert tables["seeds"].empty


def test_numbers_of_training_images_are_shown_where_they_differ(make_run, tmp_path, capsys):
    paths = tuple(make_run(f"{name}/seed-0") for name in ("few-with-a-long-name-to-cut", "many"))
    compare.main(compare.Options(runs=paths))
    assert "learnt from" not in capsys.readouterr().out
    content = json.loads((paths[0] / "summary.json").read_text())
    content["splits"]["train"]["images"] = {"a": 5, "b": 1, "c": 1}
    (paths[0] / "summary.json").write_text(json.dumps(content))
    table = compare.main(compare.Options(runs=paths))["runs"]
    assert table["train_images"].tolist() == [7, 60]
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if "learnt from" in line)
    assert [line.split()[2] for line in lines[head + 1 : head + 3]] == ["7", "60"]
    assert max(map(len, lines)) <= 80


def test_a_folder_of_runs_gives_the_tests_over_seeds(make_run, tmp_path, capsys):
    for seed in range(3):
        for name, skill in (("weak", 0.5), ("strong", 3.0)):
            make_run(f"{name}/seed-{seed}", skill=skill, seed=seed, options={"variant": name})
    tables = compare.main(compare.Options(runs=(tmp_path / "runs",)))
    assert len(tables["pairs"]) == 15
    assert tables["seeds"]["num_seeds"].tolist() == [3, 3, 3]
    assert "(3 seeds)" in capsys.readouterr().out


def test_copies_in_groups_bring_a_warning_about_mcnemar(make_run, capsys):
    groups = [str(index // 10) for index in range(60)]
    paths = (make_run("x", groups=groups), make_run("y", groups=groups, seed=1))
    compare.main(compare.Options(runs=paths))
    assert "6 groups only: trust the intervals over groups" in " ".join(
        capsys.readouterr().out.split()
    )


def test_one_group_has_differences_without_interval(make_run, capsys):
    paths = (make_run("x", groups=["g"] * 60), make_run("y", groups=["g"] * 60, seed=1))
    [pair] = compare.main(compare.Options(runs=paths))["pairs"].to_dict("records")
    assert np.isnan(pair["accuracy_low"])
    assert np.isnan(pair["accuracy_p_holm"])
    assert "nan" not in capsys.readouterr().out


def test_another_test_can_be_compared(make_run):
    tests = {"other_tests": ("stage-1",)}
    paths = (make_run("x", **tests), make_run("y", seed=1, **tests))
    swapped = pd.read_csv(paths[0] / "predictions-stage-1.csv")
    swapped = swapped.rename(columns={"prob_a": "prob_b", "prob_b": "prob_a"})
    swapped.to_csv(paths[0] / "predictions-stage-1.csv", index=False)
    plain = compare.main(compare.Options(runs=paths))["runs"]["accuracy"]
    staged = compare.main(compare.Options(runs=paths, test="stage-1"))["runs"]["accuracy"]
    assert staged[0] < plain[0]
    assert staged[1] == plain[1]
    with pytest.raises(ValueError, match="no test 'TestB'. Its further tests: stage-1"):
        compare.main(compare.Options(runs=paths, test="TestB"))


def test_synthetic_runs_say_so(make_run, capsys):
    paths = (make_run("x", is_synthetic=True), make_run("y", seed=1, is_synthetic=True))
    compare.main(compare.Options(runs=paths))
    assert capsys.readouterr().out.startswith("SYNTHETIC data")


def edit_predictions(path, change) -> None:
    frame = pd.read_csv(path / "predictions.csv", dtype={"group": str})
    change(frame).to_csv(path / "predictions.csv", index=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f[f["sample_id"] != "test/0003.png"],
            "60 and 59 images; 1 only in the first, e",
        ),
        (
            lambda f: f.assign(sample_id="x" + f["sample_id"]),
            "60 only in the second, e.g. xtest/00",
        ),
        (lambda f: f.assign(label="a"), "labels of 40 images differ, e.g. test/0001.png: b and a"),
        (lambda f: f.assign(group="one"), "groups of 60 images differ"),
        (lambda f: f.assign(prob_a=np.nan), "no finite numbers"),
        (lambda f: f.assign(sample_id="same"), "holds same more than once"),
        (lambda f: f.drop(columns="group"), "is no table of predictions"),
        (lambda f: f[:0], "found 0 rows"),
        (lambda f: f.drop(columns="prob_b"), "is no table of predictions of this run"),
        (lambda f: f.assign(label="d"), "labels that the run does not know: d. It knows a, b, c"),
    ],
)
def test_runs_on_other_images_and_damaged_ones_are_refused(make_run, change, message):
    paths = (make_run("x"), make_run("y"))
    edit_predictions(paths[1], change)
    with pytest.raises(ValueError, match=message):
        compare.main(compare.Options(runs=paths))


def test_synthetic_and_real_runs_are_not_compared(make_run):
    paths = (make_run("x"), make_run("y", is_synthetic=True))
    with pytest.raises(ValueError, match=r"never share a table(.|\n)*synthetic: .*y"):
        compare.main(compare.Options(runs=paths))


def test_other_class_lists_are_refused(make_run):
    labels = ["a", "b", "c"] * 20
    paths = (make_run("x", labels), make_run("y", labels, classes=("a", "b", "c", "other")))
    with pytest.raises(ValueError, match="know different classes: a, b, c there, a, b, c, other"):
        compare.main(compare.Options(runs=paths))


def test_one_run_or_none_is_refused(make_run, tmp_path):
    path = make_run("x")
    with pytest.raises(ValueError, match="Pass two runs or more"):
        compare.main(compare.Options(runs=(path, path)))
    with pytest.raises(ValueError, match="No finished classifier run at or below .*nowhere"):
        compare.main(compare.Options(runs=(path, tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="No run given. Give the folder"):
        compare.Options(runs=())
    (path / "summary.json").write_text('{"seed": 0, "test": []}')
    with pytest.raises(ValueError, match=r"lacks experiment, .*data.synthetic, test.per_class"):
        compare.main(compare.Options(runs=(path,)))
    (path / "summary.json").write_text("{")
    with pytest.raises(ValueError, match="summary.json cannot be read"):
        compare.main(compare.Options(runs=(path,)))


def test_class_table_equals_scikit_learn(make_run):
    [run] = find_classifiers([make_run("x", skill=1.0)])
    table = class_tables.build_class_table(run)
    frame = run.predictions()
    expected = precision_recall_fscore_support(frame["label"], frame["pred"], labels=run.classes)
    for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert table[column].tolist() == pytest.approx(values.tolist())
    assert table["accuracy"][0] == ((frame["label"] == "a") == (frame["pred"] == "a")).mean()
    assert (table["recall_low"] <= table["recall"]).all()
    text = class_tables.format_class_table(table)
    assert max(map(len, text.splitlines())) <= 80
    markdown = class_tables.class_table_to_markdown(table)
    assert markdown.count("\n") == 4
    assert f"| {table['f1'][0]:.3f} | {table['accuracy'][0]:.3f} | 20 |" in markdown


def test_a_class_that_is_never_named_has_no_precision(make_run):
    labels = ["a", "b"] * 10
    probs = np.tile([0.6, 0.3, 0.1], (20, 1))
    [run] = find_classifiers([make_run("x", labels, probs)])
    table = class_tables.build_class_table(run).set_index("class")
    assert table.loc["a", "precision"] == 0.5
    assert np.isnan(table.loc["b", "precision"])
    assert table.loc["b", "recall"] == 0
    assert table.loc["c"].isna().sum() == 7, "neither named nor there: nothing but accuracy"
    assert "| c | - | - | - | 1.000 | 0 |" in class_tables.class_table_to_markdown(
        table.reset_index()
    )


def test_names_leave_out_what_runs_share(make_run):
    paths = [make_run("base/split-10/seed-0"), make_run("base/split-10/seed-1")]
    assert align_runs(find_classifiers(paths)).names == ("split-10/seed-0", "split-10/seed-1")


def test_epochs_of_a_second_stage_that_count_from_one_go_on(make_run):
    path = make_run("x")
    frame = pd.read_csv(path / "metrics.csv")
    pd.concat([frame, frame]).to_csv(path / "metrics.csv", index=False)
    [run] = find_classifiers([path])
    assert number_epochs(run.metrics())["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    (path / "metrics.csv").write_text("nothing\n")
    with pytest.raises(ValueError, match="holds no epochs"):
        run.metrics()


def test_a_prepared_summary_may_lack_what_only_tables_show(make_run):
    paths = (make_run("x"), make_run("y", seed=1))
    summary = json.loads((paths[0] / "summary.json").read_text())
    del summary["parameters"], summary["best_epoch"]
    (paths[0] / "summary.json").write_text(json.dumps(summary))
    table = compare.main(compare.Options(runs=paths))["runs"]
    assert table["parameters"].isna().tolist() == [True, False]
