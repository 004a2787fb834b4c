"""Statistics and tables against known cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from experiments.readme_tables import DOCUMENTS, find_document
from experiments.reporting import cluster_sheet, figures, statistics, tables
from experiments.reporting.load_runs import FinishedRun

CLASSES = ["a", "b", "c"]


def draw_predictions(seed: int, number: int = 200) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, number, p=[0.6, 0.3, 0.1])
    preds = np.where(rng.random(number) < 0.8, labels, rng.choice(CLASSES, number))
    return labels.tolist(), preds.tolist()


def confusions_of(labels, preds, groups) -> np.ndarray:
    return statistics.group_confusions(labels, preds, groups, CLASSES)[None]


def test_metrics_of_a_confusion_matrix_equal_scikit_learn():
    labels, preds = draw_predictions(0)
    confusion = confusions_of(labels, preds, ["g"] * 200)[0].sum(axis=0)
    assert statistics.accuracy(confusion) == pytest.approx(np.mean(np.array(labels) == preds))
    expected = balanced_accuracy_score(labels, preds)
    assert statistics.balanced_accuracy(confusion) == pytest.approx(expected)
    assert statistics.macro_f1(confusion) == pytest.approx(f1_score(labels, preds, average="macro"))


def test_interval_of_single_images_is_near_the_binomial_one():
    labels = ["a"] * 400
    preds = ["a"] * 320 + ["b"] * 80
    groups = [str(index) for index in range(400)]
    found = statistics.estimate(confusions_of(labels, preds, groups), statistics.accuracy)
    exact = stats.binomtest(320, 400).proportion_ci(method="wilson")
    assert found.value == pytest.approx(0.8)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.01)
    assert (found.num_images, found.num_groups) == (400, 400)


def test_copies_of_one_photograph_do_not_narrow_the_interval():
    labels = ["a"] * 400
    preds = (["a"] * 8 + ["b"] * 2) * 40
    copies = [str(index % 10) for index in range(400)]
    found = statistics.estimate(confusions_of(labels, preds, copies), statistics.accuracy)
    alone = statistics.estimate(
        confusions_of(labels[:10], preds[:10], copies[:10]), statistics.accuracy
    )
    assert found.num_groups == 10
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_one_group_has_no_interval():
    found = statistics.estimate(confusions_of(["a"], ["a"], ["g"]), statistics.accuracy)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_mean_over_seeds_lies_in_its_interval():
    groups = [str(index) for index in range(200)]
    labels, _ = draw_predictions(0)
    wrong, right = ["b" if x == "a" else "a" for x in labels], labels
    both = np.concatenate(
        [confusions_of(labels, right, groups), confusions_of(labels, wrong, groups)]
    )
    found = statistics.estimate(both, statistics.accuracy)
    assert found.value == pytest.approx(0.5)
    assert found.low <= found.value <= found.high


def test_markers_keep_what_stands_around_them():
    text = "top\n<!-- results:x -->\nold\n<!-- /results:x -->\nend"
    changed = tables.replace_between_markers(text, "x", "new")
    assert changed == "top\n<!-- results:x -->\nnew\n<!-- /results:x -->\nend"
    with pytest.raises(ValueError, match="no markers"):
        tables.replace_between_markers(text, "y", "new")


def test_readme_holds_the_committed_results():
    """What stands between the markers is what the CSV file says."""
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    readme = find_document([root / path for path in DOCUMENTS], "main_job").read_text()
    written = tables.to_markdown(pd.read_csv(root / "results" / "main_job.csv"))
    assert tables.replace_between_markers(readme, "main_job", written) == readme


def test_figures_are_pictures():
    confusion = figures.draw_confusion_matrix(np.eye(3, dtype=np.int64) * 7, CLASSES, "toy")
    assert confusion.ndim == 3
    assert confusion.dtype == np.uint8
    assert confusion.std() > 10
    none = figures.draw_captioned_images([], [], "misread")
    assert none.shape[2] == 3
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    pairs = figures.draw_image_pairs([image, image], [image, image])
    assert pairs.shape == (2 * 16, 2 * 16, 3)


def test_the_learning_curve_has_a_dot_a_seed_and_a_hollow_marker_for_a_single_one():
    scores = {"accuracy": [0.5, 0.7], "balanced_accuracy": [0.4, 0.6]}
    table = pd.DataFrame(
        {"experiment": "base_wbc", "epochs": 10, "label_percent": [1, 10], "seeds": [2, 1]}
    )
    for name, values in scores.items():
        table[name] = values
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.1
    without = figures.draw_learning_curve(table, "cells")
    assert without.get_suptitle().endswith("over test images; hollow: one seed only")
    table["accuracy_values"] = ["0.4000 0.6000", "0.7000"]
    table["balanced_accuracy_values"] = ["0.3000 0.5000", "0.6000"]
    figure = figures.draw_learning_curve(table, "cells")
    assert "; dots: seeds" in figure.get_suptitle()
    for axes, expected in zip(figure.axes, ([0.4, 0.6, 0.7], [0.3, 0.5, 0.6]), strict=True):
        dots = [line.get_ydata() for line in axes.lines if line.get_marker() == "."]
        assert [float(value) for values in dots for value in values] == expected
        [hollow] = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert list(hollow.get_xdata()) == [10]
        assert all(hollow.zorder > line.zorder for line in axes.lines if line is not hollow)


def test_restricted_predictions_name_only_what_is_there():
    frame = pd.DataFrame(
        {
            "label": ["b", "c"],
            "pred": ["a", "a"],
            "prob_a": [0.6, 0.5],
            "prob_b": [0.3, 0.1],
            "prob_c": [0.1, 0.4],
        }
    )
    present = statistics.find_present(frame["label"].tolist(), CLASSES)
    assert present == ["b", "c"]
    restricted = statistics.restrict_predictions(frame, present)
    assert restricted["pred"].tolist() == ["b", "c"]
    assert "prob_a" not in restricted
    assert frame["pred"].tolist() == ["a", "a"], "the given frame stays as it was"


def write_run(path: Path, summary: dict, rows: list[list]) -> FinishedRun:
    path.mkdir(parents=True)
    columns = ["sample_id", "group", "label", "prob_a", "prob_b", "prob_c"]
    pd.DataFrame(rows, columns=columns).to_csv(path / "predictions.csv", index=False)
    return FinishedRun(path, {}, summary)


def test_result_shows_restricted_scores_a_limit_of_training_and_what_was_left_out(tmp_path: Path):
    scores = {"loss": 1.0, "expected_calibration_error": 0.1, "brier": 0.2}
    row = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    test = {**scores, "per_class": dict.fromkeys(CLASSES, row)}
    data = {"name": "cells", "synthetic": False, "left_out": {"no common counterpart: ig": 587}}
    summary = {"experiment": "base_wbc", "seed": 0, "data": data, "test": test}
    rows = [
        [str(k), str(k), "bc"[k % 2], 0.5, 0.4 - k % 2 * 0.3, 0.1 + k % 2 * 0.3] for k in range(8)
    ]
    plain = tables.format_result(write_run(tmp_path / "plain", summary, rows))
    assert "restricted" not in plain
    assert "   587  no common counterpart: ig" in plain
    assert "Learnt from" not in plain
    limited = {**summary, "splits": {"train": {"images": {"a": 8, "b": 1, "c": 1}}}}
    run = replace(
        write_run(tmp_path / "limited", limited, rows),
        config={"options": {"max_train_images": 10}},
    )
    assert "\nLearnt from 10 images: --max-train-images 10\n" in tables.format_result(run)
    test["restricted"] = {"classes": ["b", "c"]}
    run = write_run(tmp_path / "restricted", summary, rows)
    assert tables.estimate_runs([run])["accuracy"].value == 0
    assert tables.estimate_runs([run], restricted=True)["accuracy"].value == 1
    text = tables.format_result(run)
    assert "restricted to the classes in this test split: b, c" in text
    assert text.count("  accuracy ") == 2
    summary["experiment"] = "ablations"
    of_study = replace(run, config={"variant": "probe-depths", "draw": 3})
    title = "Test result of probe-depths (ablations), draw 3, seed 0 on cells"
    assert tables.format_result(of_study).splitlines()[0] == title


def test_table_has_restricted_scores_in_a_row_of_their_own(tmp_path: Path):
    restricted = {"classes": ["b", "c"], "accuracy": 1.0, "balanced_accuracy": 1.0, "macro_f1": 1.0}
    runs = []
    for seed in (0, 1):
        test = {"accuracy": 0.0, "balanced_accuracy": 0.0, "macro_f1": 0.0,
                "per_class": {name: {} for name in CLASSES}, "restricted": restricted}  # fmt: skip
        summary = {
            "experiment": "base_wbc", "seed": seed, "epochs": 1, "test": test,
            "data": {"name": "TestB", "synthetic": False},
            "splits": {"train": {"images": {"a": 3, "b": 3, "c": 3}}},
        }  # fmt: skip
        rows = [[str(k), str(k), "bc"[k % 2], 0.5, [0.4, 0.1][k % 2], [0.1, 0.4][k % 2]]
                for k in range(8)]  # fmt: skip
        runs.append(write_run(tmp_path / str(seed), summary, rows))
    table = tables.build_result_table(runs)
    tables.write_table(table, tmp_path / "table.csv")
    lines = tables.to_markdown(pd.read_csv(tmp_path / "table.csv")).splitlines()[2:]
    assert len(lines) == 2
    assert lines[0].startswith("| base_wbc | 100 % | 9 |")
    assert "0.000 ± 0.000 [0.000, 0.000]" in lines[0]
    assert lines[1].startswith("| base_wbc, restricted to b, c | 100 % | 9 |")
    assert "1.000 ± 0.000 [1.000, 1.000]" in lines[1]
    for run in runs:
        del run.summary["test"]["restricted"]
    assert "restricted_to" not in tables.build_result_table(runs).columns


def test_small_groups_fill_the_rows_that_large_ones_leave():
    rows = cluster_sheet.arrange_in_rows([8, 5, 2, 4, 3, 2, 2], max_rows=3)
    assert rows == [[0], [1, 2], [3, 4]]
    assert cluster_sheet.arrange_in_rows([], max_rows=3) == []


def test_a_sheet_is_as_wide_as_its_fullest_row_and_as_low_as_its_images():
    def draw(shape: tuple[int, int, int], number: int) -> tuple[int, ...]:
        images = [np.zeros(shape, np.uint8)] * number
        group = cluster_sheet.ImageGroup("a $ group", images, ["test"] * number, is_marked=True)
        return cluster_sheet.draw_groups([[group]], "1 group").shape

    square, wide = draw((20, 20, 3), 6), draw((10, 20, 3), 8)
    assert square[1] * 8 == wide[1] * 6
    assert wide[0] < square[0] < square[1]
    assert cluster_sheet.draw_groups([], "0 groups").shape[0] > 0
