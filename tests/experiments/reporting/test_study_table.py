"""Tables of studies: what stands in a row, and which variants they hold."""

from __future__ import annotations

import html
import re

import pandas as pd
import pytest

from experiments.reporting.html import studies
from experiments.reporting.html.report import write_report
from experiments.reporting.load_runs import find_classifiers
from experiments.reporting.study_table import STUDY_TABLES, Study
from experiments.reporting.tables import format_time, write_table
from experiments.studies import STUDIES

STUDY = Study("good", ("good", "poor"))


@pytest.fixture
def runs(make_run):
    paths = [
        make_run(
            f"ablations/{name}/split-10/draw-{draw}/seed-0",
            ["a", "b", "c"] * (20 + draw),
            experiment="ablations",
            skill=skill + 0.2 * draw,
            seed=draw,
            config={"variant": name, "draw": draw},
        )
        for name, skill in (("poor", 0.3), ("good", 3.0), ("other", 1.0))
        for draw in range(3)
    ]
    for path in paths:
        summary = path / "summary.json"
        text = summary.read_text()
        draw = int(path.parent.name.removeprefix("draw-"))
        summary.write_text(
            text.replace(f'"seed": {draw}', '"seed": 0', 1).replace(
                '"experiment"', '"label_percent": 10, "experiment"', 1
            )
        )
    return find_classifiers(paths)


@pytest.mark.parametrize("name", ["fusion", "strong"])
def test_a_table_holds_the_variants_of_its_study(name):
    assert set(STUDY_TABLES[name].variants) == {variant.name for variant in STUDIES[name]}
    assert STUDY_TABLES[name].reference in STUDY_TABLES[name].variants


def test_the_variants_of_all_other_studies_stand_in_the_two_other_tables():
    shown = STUDY_TABLES["changes"].variants + STUDY_TABLES["turns"].variants
    others = set(STUDIES) - {"fusion", "strong"}
    assert sorted(shown) == sorted({variant.name for name in others for variant in STUDIES[name]})


def test_differences_are_the_variants_less_the_reference(runs):
    table = STUDY.build(STUDY.select(runs))
    assert table["model"].tolist() == ["good", "poor"], "other is of another study"
    good, poor = table.to_dict("records")
    assert (good["draws"], good["label_percent"]) == (3, 10)
    assert pd.isna(good["accuracy_difference"])
    for name in ("accuracy", "balanced_accuracy"):
        difference = poor[f"{name}_difference"]
        assert difference == pytest.approx(poor[name] - good[name])
        assert poor[f"{name}_difference_low"] < difference < poor[f"{name}_difference_high"] < 0
        assert 0 <= poor[f"{name}_p"] <= 1


def test_markdown_is_that_of_the_csv_with_a_table_a_share_of_labels(runs, tmp_path):
    table = STUDY.build(STUDY.select(runs))
    write_table(table, tmp_path / "t.csv")
    text = STUDY.to_markdown(pd.read_csv(tmp_path / "t.csv"))
    assert text.startswith("10 % of the labels of cells:\n\n| variant |")
    poor = next(line for line in text.splitlines() if line.startswith("| poor"))
    assert poor.count("|") == 8
    assert f"{table.iloc[1]['accuracy_difference']:+.3f} [" in poor
    assert poor.endswith(f"| {format_time(table.iloc[1]['seconds'])} |")
    untimed = STUDY.to_markdown(pd.read_csv(tmp_path / "t.csv").drop(columns="seconds"))
    assert untimed.splitlines()[2].endswith("| minus good (p) |")
    assert all(line.count("|") == 7 for line in untimed.splitlines()[2:])


def test_without_the_reference_there_is_nothing_to_compare_with(runs):
    poor = [run for run in STUDY.select(runs) if run.config["variant"] == "poor"]
    with pytest.raises(ValueError, match="no model 'good'"):
        STUDY.build(poor)
    assert STUDY.select(poor) == []


def test_the_report_says_what_a_study_over_draws_shows(runs, monkeypatch, tmp_path):
    part = Study("good", ("good",))
    monkeypatch.setattr(studies, "STUDY_TABLES", {"toy": STUDY, "a part of it": part})
    [view] = studies.view_studies(runs)
    assert view.title == "toy on cells"
    assert [row[:3] for row in view.table.rows] == [("good", "10", "3"), ("poor", "10", "3")]
    [sentence] = view.sentences
    row = STUDY.build(STUDY.select(runs)).to_dict("records")[1]
    assert sentence.startswith("With 10 % of the labels poor is behind good by its interval")
    assert f"{row['accuracy_difference']:+.3f} [" in sentence
    page = write_report([tmp_path / "runs"], tmp_path / "out", has_images=False).read_text()
    assert "Study toy on cells" in page
    assert sentence in html.unescape(page)
    one_draw = [run for run in runs if run.config["draw"] == 0]
    assert studies.view_studies(one_draw) == []


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [(-0.2, 0.1, 0.9, "cannot be told from fused"), (0.1, 0.3, 0.01, "ahead of fused .* bears it"),
     (-0.3, -0.1, 0.2, "behind fused .* does not bear it out"), (0.1, 0.2, None, "no test")],
)  # fmt: skip
def test_the_sentence_follows_interval_and_test(low, high, p, said):
    row = {"model": "x", "label_percent": 1, "accuracy_difference": (low + high) / 2}
    row |= {"accuracy_difference_low": low, "accuracy_difference_high": high, "accuracy_p": p}
    assert re.search(said, studies._judge(row, "fused"))
