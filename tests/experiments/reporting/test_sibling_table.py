"""The sibling systems' table: commands, stand-ins, what is reported, and the README's markers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from experiments import readme_tables
from experiments.readme_tables import DOCUMENTS, find_document
from experiments.reporting import identity, reported, sibling_table
from experiments.reporting.load_runs import find_classifiers
from experiments.reporting.named_tables import NAMED_TABLES
from experiments.reporting.tables import (
    build_result_table,
    format_time,
    replace_between_markers,
    write_table,
)

RESNET = {"model": "resnet", "grayscale": False, "norm": "batch"}
ROOT = Path(__file__).resolve().parents[3]


def rows_of(*paths: Path) -> list[dict]:
    return sibling_table.build_sibling_table(find_classifiers(paths)).to_dict("records")


def test_a_row_says_what_was_run_and_what_the_authors_report(make_run):
    [row] = rows_of(
        make_run(
            "small_cnn/final/seed-0",
            config={"variant": "final"},
            options={
                "variant": "final",
                "epochs": 3,
                "lr": 0.002,
                "augment": False,
                "tags": [1, 2],
            },
        )
    )
    assert row["system"] == "E small CNN"
    assert row["protocol"] == "final"
    assert row["reported"] == "0.840"
    assert row["data"] == "cells, 180 images (stand-in for Kaggle blood cells)"
    assert row["command"].startswith("python experiments/small_cnn.py --data-root cells ")
    assert "--epochs 3 --lr 0.002" in row["command"]
    assert row["command"].endswith("--no-augment --tags 1 2")
    assert (row["test_images"], row["test_groups"], row["seeds"]) == (60, 60, 1)
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]


def test_no_folder_of_the_machine_is_printed(make_run):
    options = {
        "from_run": "/home/someone/runs/aml_resnext/seed-0", "weights": "../../w.pt",
        "runs_root": "/home/someone/runs", "cache_root": "/tmp/x", "device": "cpu", "resume": True,
        "val_run": "runs/aml_resnext/seed-0", "name": "a b",
    }  # fmt: skip
    [row] = rows_of(make_run("pbc/seed-0", experiment="pbc_transfer", options=options))
    assert row["command"] == (
        "python experiments/pbc_transfer.py --data-root cells --from-run seed-0 "
        "--weights w.pt --val-run runs/aml_resnext/seed-0 --name 'a b'"
    )


def test_defaults_of_a_script_are_left_out_of_the_command():
    defaults = identity.read_defaults(ROOT / "experiments" / "base_wbc.py")
    assert defaults["split"] == 100
    assert defaults["batch_size"] == 16
    assert defaults["data_root"] is None
    assert "cache_root" not in defaults, "no literal"
    tumor = identity.read_defaults(ROOT / "experiments" / "camelyon16_resnet18.py")
    assert tumor["backbone_weights"] == "pretrained", "a constant of another module"


def test_command_of_a_real_script_is_short(make_run):
    options = {"batch_size": 16, "lr": 0.02, "split": 10, "masks": False, "class_weights": True}
    path = make_run("base/seed-0", experiment="base_wbc", options=options)
    [run] = find_classifiers([path])
    assert identity.rebuild_command(run) == (
        "python experiments/base_wbc.py --data-root cells --lr 0.02 --split 10 --no-masks "
        "--class-weights"
    )
    assert "--seed" not in identity.rebuild_command(run, with_seed=False)


def test_runs_from_before_there_was_a_choice_are_of_the_same_model(make_run):
    later = {"views": 1, "latent_pool": 1, "accumulate": 1, "keep_on_gpu": True, "resume": True}
    paths = [
        make_run(f"fused/seed-{seed}", experiment="fused_wbc", seed=seed, options=options)
        for seed, options in enumerate(({}, later, {**later, "views": 8}))
    ]
    keys = [identity.model_key(run) for run in find_classifiers(paths)]
    assert keys[0] == keys[1] != keys[2]


def test_other_ways_to_learn_are_rows_of_their_own_named_with_their_flags(make_run):
    ways = ({}, {"keep_on_gpu": False, "prcc_run": "elsewhere"}, {"views": 8, "masks": False})
    paths = [
        make_run(f"{seed}", experiment="fused_wbc", seed=seed, options=options)
        for seed, options in enumerate(ways)
    ]
    table = build_result_table(find_classifiers(paths))
    found = dict(zip(table["experiment"], table["seeds"], strict=True))
    assert found == {"fused_wbc": 2, "fused_wbc --views 8 --no-masks": 1}


def test_defaults_of_an_overriding_class_and_of_a_missing_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from elsewhere import Base\nDEFAULT = 3\nclass Parent:\n    x: int = 1\n    y: int = 2\n"
        "    z: int = 5\nclass Options(Parent, Base):\n    y: int = DEFAULT\n    z: int = 6\n"
        "    w: int\n    v: object = object()\n    x: object = UNKNOWN\n"
    )
    assert identity.read_defaults(script) == {"y": 3, "z": 6}
    assert identity.read_defaults(tmp_path / "none.py") == {}


def test_seeds_share_a_row_and_other_options_do_not(make_run):
    pooled = {"protocol": "pooled"}
    rows = rows_of(
        *(make_run(f"d18/seed-{seed}", experiment="raabin_resnet", seed=seed, config=pooled,
                  options={**RESNET, "depth": 18})
          for seed in (0, 1)),
        make_run("d34/seed-0", experiment="raabin_resnet", config=pooled,
                 options={**RESNET, "depth": 34}),
    )  # fmt: skip
    assert [(row["seeds"], row["reported"]) for row in rows] == [(2, "0.981"), (1, "-")]
    assert "--seed" not in rows[0]["command"]
    assert rows[0]["accuracy_sd"] > 0


def test_further_tests_and_stages_have_rows_of_their_own(make_run):
    rows = rows_of(
        make_run(
            "x/seed-0",
            experiment="bccd_xception",
            config={"protocol": "leaky"},
            options={"backbone": "legacy_xception"},
            other_tests=("stage-1",),
        )
    )
    assert [(row["test"], row["reported"]) for row in rows] == [
        ("stage-1", "0.820 (leaky re-split)"),
        ("main", "0.960 (leaky re-split)"),
    ]
    markdown = sibling_table.sibling_table_to_markdown(pd.DataFrame(rows))
    assert "| D Xception: leaky, stage-1 |" in markdown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Raabin-WBC", "Raabin-WBC (180 of 16,633 images)"),
        ("PBC", "PBC, 180 images (stand-in for Raabin-WBC)"),
        ("PBC in the layout of X (stand-in)", "PBC in the layout of X (stand-in), 180 images"),
    ],
)
def test_stand_ins_and_parts_are_named(make_run, name, expected):
    [row] = rows_of(make_run("x/seed-0", experiment="raabin_resnet", data=name))
    assert row["data"] == expected


def test_whole_sets_are_named_plainly(make_run):
    path = make_run("x/seed-0", experiment="raabin_resnet", data="Raabin-WBC")
    summary = json.loads((path / "summary.json").read_text())
    summary["splits"]["train"] = {"images": {"a": 20_000}, "masked": 3_487, "groups": 9}
    (path / "summary.json").write_text(json.dumps(summary))
    assert rows_of(path)[0]["data"] == "Raabin-WBC"


def test_reported_figures_say_what_they_are_of():
    def find(experiment: str, **settings: object) -> str:
        return reported.format_reported(reported.find_reported(experiment, settings))

    assert find("small_cnn", variant="reduced") == "0.935 (validation)"
    on_test_b = {**RESNET, "norm": "group", "protocol": "testa-testb", "round": "TestB"}
    assert find("raabin_resnet", **on_test_b, depth=18) == "-"
    assert find("raabin_resnet", **on_test_b, depth=50) == "0.780 ± 0.054 (wbc-benchmark)"
    assert find("aml_resnext", backbone="densenet121") == "-"
    assert (
        find("aml_resnext", backbone="resnext50_32x4d")
        == "auroc blast 0.991 ± 0.002, auroc atypical 0.992 ± 0.001"
    )
    assert find("fused_wbc", split=10) == "0.906"
    assert {score.system for score in reported.REPORTED} == {"A", "B", "C1", "D", "E"}
    assert all(score.source for score in reported.REPORTED)


@dataclass(frozen=True)
class Marked:
    readme: Path
    out: Path

    def options(self, runs: Path) -> readme_tables.Options:
        """Return the script's options for the runs below `runs`."""
        return readme_tables.Options(runs=(runs,), out=self.out, documents=(self.readme,))


@pytest.fixture
def marked(tmp_path: Path) -> Marked:
    readme = tmp_path / "README.md"
    readme.write_text("top\n<!-- results:siblings -->\nold\n<!-- /results:siblings -->\nend\n")
    return Marked(readme, tmp_path / "results")


def test_report_writes_the_table_between_its_markers(make_run, tmp_path, marked):
    make_run("small_cnn/final/seed-0", config={"variant": "final"})
    make_run("synthetic/small_cnn/final/seed-0", is_synthetic=True)
    options = readme_tables.Options(
        runs=(tmp_path / "runs",), out=marked.out, documents=(marked.readme,)
    )
    tables = readme_tables.main(options)
    assert list(tables) == ["siblings"], "a table without runs is left alone"
    assert len(tables["siblings"]) == 1, "the synthetic run is no row of it"
    text = marked.readme.read_text()
    assert text.startswith("top\n")
    assert text.endswith("end\n")
    written = pd.read_csv(marked.out / "siblings.csv")
    markdown = sibling_table.sibling_table_to_markdown(written)
    assert replace_between_markers(text, "siblings", markdown) == text
    assert "| 1 min 15 s | 60 (60) |" in markdown
    assert "SYNTHETIC" not in markdown


def test_a_table_that_would_lose_rows_is_kept_unless_told_otherwise(
    make_run, tmp_path, marked, caplog
):
    for seed in (0, 1):
        make_run(f"small_cnn/final/seed-{seed}", config={"variant": "final"}, seed=seed)
    make_run("small_cnn/reduced/seed-0", config={"variant": "reduced"})
    options = readme_tables.Options(
        runs=(tmp_path / "runs",), out=marked.out, documents=(marked.readme,)
    )
    full = readme_tables.main(options)["siblings"]
    before = marked.readme.read_text()
    for lost in ("small_cnn/reduced", "small_cnn/final/seed-1"):
        (tmp_path / "runs" / lost).rename(tmp_path / "aside")
        caplog.clear()
        with pytest.raises(ValueError, match="or not all that a table needs"):
            readme_tables.main(options)
        assert "Pass --replace to write it" in caplog.text
        assert lost.split("/")[1] in caplog.text
        assert marked.readme.read_text() == before
        pd.testing.assert_frame_equal(pd.read_csv(marked.out / "siblings.csv"), full)
        (tmp_path / "aside").rename(tmp_path / "runs" / lost)
    (tmp_path / "runs/small_cnn/reduced").rename(tmp_path / "aside")
    assert len(readme_tables.main(replace(options, replace=True))["siblings"]) == len(full) - 1


def test_synthetic_rows_say_so(make_run):
    path = make_run("x/seed-0", is_synthetic=True)
    table = sibling_table.build_sibling_table(find_classifiers([path]))
    assert sibling_table.sibling_table_to_markdown(table).startswith("SYNTHETIC data")
    with pytest.raises(ValueError, match="never share a table"):
        rows_of(path, make_run("y/seed-0"))


def test_restricted_scores_have_a_row(make_run, tmp_path):
    path = make_run("x/seed-0", ["a", "b"] * 30, experiment="raabin_resnet")
    summary = json.loads((path / "summary.json").read_text())
    scores = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), 0.9)
    summary["test"]["restricted"] = {"classes": ["a", "b"], **scores}
    (path / "summary.json").write_text(json.dumps(summary))
    write_table(sibling_table.build_sibling_table(find_classifiers([path])), tmp_path / "t.csv")
    markdown = sibling_table.sibling_table_to_markdown(pd.read_csv(tmp_path / "t.csv"))
    assert "| B ResNet: main, restricted to a, b |" in markdown


def test_report_without_runs_or_markers_says_what_to_do(make_run, tmp_path, marked):
    make_run("other/seed-0", experiment="camelyon16_resnet18")
    options = readme_tables.Options(
        runs=(tmp_path / "runs",), out=marked.out, documents=(marked.readme,)
    )
    with pytest.raises(ValueError, match="No finished classifier run on real images below"):
        readme_tables.main(options)
    make_run("small_cnn/seed-0")
    marked.readme.write_text("no markers\n")
    with pytest.raises(ValueError, match="no markers <!-- results:siblings -->"):
        readme_tables.main(options)
    assert marked.readme.read_text() == "no markers\n"


def test_folds_are_shown_pooled_only(make_run):
    paths = (
        *(make_run(f"folds-2/fold-{fold}/seed-0", experiment="aml_resnext", seed=0,
                   options={"folds": 2, "fold": fold}) for fold in (0, 1)),
        make_run("folds-2/pooled/seed-0", experiment="aml_resnext",
                 config={"protocol": "folds-2"}, options={"folds": 2, "fold": None}),
    )  # fmt: skip
    chosen = NAMED_TABLES["siblings"].select(find_classifiers(paths))
    assert [run.config["protocol"] for run in chosen] == ["folds-2"]
    assert identity.rebuild_command(chosen[0]).endswith("--folds 2")


def test_a_run_of_another_job_is_refused(make_run):
    with pytest.raises(ValueError, match="is a run of base_wbc"):
        rows_of(make_run("base/seed-0", experiment="base_wbc"))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(42.4, "42 s"), (185, "3 min 5 s"), (7_830, "2 h 10 min")]
)
def test_times_are_readable(seconds, expected):
    assert format_time(seconds) == expected


@pytest.mark.parametrize("name", NAMED_TABLES)
def test_readme_holds_the_committed_table(name):
    """What stands between the markers is what the CSV file says; neither is there alone."""
    readme = find_document([ROOT / path for path in DOCUMENTS], name).read_text()
    path = ROOT / "results" / f"{name}.csv"
    assert path.is_file() == (f"<!-- results:{name} -->" in readme)
    if path.is_file():
        written = NAMED_TABLES[name].to_markdown(pd.read_csv(path))
        assert replace_between_markers(readme, name, written) == readme
