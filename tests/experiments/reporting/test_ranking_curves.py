"""Curves by class against scikit-learn and analytic cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from experiments import rank_classes
from experiments.reporting import ranking
from experiments.reporting.ranking_curves import GRID, MACRO, find_banded_curves


def draw_frame(number: int = 120, seed: int = 0, groups: list[str] | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = np.array(["abc"[index % 3] for index in range(number)])
    logits = rng.normal(size=(number, 3)) + 1.2 * (labels[:, None] == list("abc"))
    # Rounded, so that scores are tied.
    probs = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 2)
    frame = pd.DataFrame(probs, columns=["prob_a", "prob_b", "prob_c"])
    return frame.assign(label=labels, group=groups or [f"{index:04}" for index in range(number)])


def area(values: np.ndarray) -> float:
    return float(np.trapezoid(values, GRID))


def test_precision_at_each_recall_is_that_of_scikit_learn():
    frame = draw_frame()
    for curve in find_banded_curves(frame, "precision_recall")[:3]:
        truth, scores = frame["label"] == curve.name, frame[f"prob_{curve.name}"]
        precision, recall, _ = precision_recall_curve(truth, scores)
        precision, recall = precision[:-1][::-1], recall[:-1][::-1]
        for place, value in zip(GRID[1:], curve.values[1:], strict=True):
            assert value == precision[np.argmax(recall >= place - 1e-12)]
        expected = average_precision_score(truth, scores)
        assert curve.area.value == pytest.approx(expected)
        assert area(curve.values) == pytest.approx(expected, abs=0.004)


def test_area_under_the_roc_curves_is_that_of_scikit_learn():
    frame = draw_frame()
    curves = find_banded_curves(frame, "roc")
    for curve in curves[:3]:
        expected = roc_auc_score(frame["label"] == curve.name, frame[f"prob_{curve.name}"])
        assert curve.area.value == pytest.approx(expected)
        assert area(curve.values) == pytest.approx(expected, abs=0.004)
    assert curves[3].name == MACRO
    assert area(curves[3].values) == pytest.approx(curves[3].area.value, abs=0.004)
    assert (curves[3].values[0], curves[3].values[-1]) == (curves[3].values.min(), 1)


def test_macro_average_precision_equals_scikit_learn():
    frame = draw_frame()
    truth = np.array([frame["label"] == name for name in "abc"]).T
    probs = frame[["prob_a", "prob_b", "prob_c"]].to_numpy()
    found = ranking.estimate_macro_average_precision(frame)
    assert found.value == pytest.approx(average_precision_score(truth, probs, average="macro"))
    assert found.low < found.value < found.high


def test_a_perfect_ranking_is_flat_and_certain():
    frame = pd.DataFrame({"prob_a": [0.9, 0.8, 0.2, 0.1] * 5, "group": [*"abcdefghijklmnopqrst"]})
    frame = frame.assign(prob_b=1 - frame["prob_a"], label=["a", "a", "b", "b"] * 5)
    for kind in ("roc", "precision_recall"):
        for curve in find_banded_curves(frame, kind):
            assert (curve.values == 1).all()
            assert (curve.low == 1).all()


def test_scores_without_skill_have_the_share_as_precision_and_the_diagonal():
    frame = draw_frame().assign(prob_a=0.5)
    [recall] = [c for c in find_banded_curves(frame, "precision_recall") if c.name == "a"]
    assert recall.values == pytest.approx(1 / 3)
    [roc] = [c for c in find_banded_curves(frame, "roc") if c.name == "a"]
    assert roc.values == pytest.approx(GRID)


def test_the_band_of_sensitivity_is_near_the_binomial_one():
    """Negatives at a known place: of 200 positives 160 are above all of them."""
    scores = np.concatenate([np.full(160, 0.9), np.full(40, 0.1), np.full(200, 0.5)])
    frame = pd.DataFrame({"prob_a": scores, "prob_b": 1 - scores})
    frame = frame.assign(label=["a"] * 200 + ["b"] * 200)
    # Each positive in a group with a negative: no draw is without either.
    frame["group"] = [str(index % 200) for index in range(400)]
    roc = find_banded_curves(frame, "roc")[0]
    assert roc.values[0] == pytest.approx(0.8)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 200)
    assert (roc.low[0], roc.high[0]) == pytest.approx((0.8 - half, 0.8 + half), abs=0.01)


def test_copies_in_a_group_do_not_narrow_the_bands():
    frame = draw_frame(45)
    copies = frame.loc[frame.index.repeat(4)].reset_index(drop=True)
    for kind in ("roc", "precision_recall"):
        alone, copied = (find_banded_curves(part, kind)[0] for part in (frame, copies))
        assert copied.low == pytest.approx(alone.low)
        assert copied.high == pytest.approx(alone.high)


def test_one_group_has_no_band():
    curve = find_banded_curves(draw_frame(groups=["one"] * 120), "roc")[0]
    assert np.isnan(curve.low).all()
    assert np.isnan(curve.area.low)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="needs two classes"):
        find_banded_curves(draw_frame().assign(label="a"), "roc")


def test_the_script_prints_and_writes(make_run, tmp_path, capsys):
    out = tmp_path / "out"
    path = make_run("x", skill=1.0, is_synthetic=True, other_tests=("TestB",))
    [table] = rank_classes.main(rank_classes.Options(runs=(path,), out=out))
    text = capsys.readouterr().out
    assert "SYNTHETIC" in text
    assert table["class"].tolist() == ["a", "b", "c", MACRO]
    assert table["positives"].tolist() == [20, 20, 20, 60]
    assert pd.read_csv(out / "areas.csv")["auroc"].tolist() == pytest.approx(
        table["auroc"].tolist(), abs=1e-4
    )
    for name in ("roc_by_class", "precision_recall"):
        assert np.asarray(Image.open(out / f"{name}.png")).std() > 5
    rank_classes.main(rank_classes.Options(runs=(path,), test="TestB"))
    assert (path / "precision_recall-TestB.png").is_file()
