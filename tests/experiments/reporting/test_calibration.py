"""Calibration against torchmetrics, scikit-learn and analytic cases."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from experiments import calibrate
from experiments.reporting import calibration
from experiments.reporting.calibration import Forecast
from experiments.reporting.calibration_tables import calibrate_run
from experiments.reporting.load_runs import find_classifiers


def draw_forecast(number: int = 400, *, sharpness: float = 1.0, seed: int = 0) -> Forecast:
    """Labels are drawn from softmax(logits); the forecast says softmax(sharpness * logits)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(number, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    groups = np.array([f"{index:05}" for index in range(number)])
    return Forecast(softmax(sharpness * logits, axis=1), labels, groups)


@pytest.mark.parametrize("sharpness", [0.3, 1, 4, 60])
def test_calibration_error_equals_torchmetrics(sharpness):
    """At a sharpness of 60 some probabilities are exactly 1, which is a bin of its own there."""
    forecast = draw_forecast(sharpness=sharpness)
    expected = multiclass_calibration_error(
        torch.tensor(forecast.probs), torch.tensor(forecast.labels), num_classes=4, n_bins=15
    ).item()
    found = calibration.score_forecast(forecast)["expected_calibration_error"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_brier_and_likelihood_equal_scikit_learn():
    forecast = draw_forecast(sharpness=2)
    found = calibration.score_forecast(forecast)
    expected = brier_score_loss(forecast.labels, forecast.probs, scale_by_half=False)
    assert found["brier"] == pytest.approx(expected)
    expected = log_loss(forecast.labels, forecast.probs)
    assert found["negative_log_likelihood"] == pytest.approx(expected)


def test_calibration_error_of_one_bin_by_hand():
    """Ten images at 0.9 of which six are right: 0.3; Brier 0.6 * 0.02 + 0.4 * 1.62."""
    probs = np.tile([0.9, 0.1], (10, 1))
    labels = np.array([0] * 6 + [1] * 4)
    found = calibration.score_forecast(Forecast(probs, labels, np.arange(10).astype(str)))
    assert found["expected_calibration_error"] == pytest.approx(0.3)
    assert found["brier"] == pytest.approx(0.66)


@pytest.mark.parametrize("temperature", [0.25, 1.7, 6.0])
def test_a_known_temperature_is_recovered(temperature):
    """Every row stands for the whole distribution that it states: T is exact, not estimated.

    Each of six distributions of integer odds is repeated with its classes as often as their odds,
    so that the softmax of the unscaled logits has the least loss there is.
    """
    odds = np.array([[2, 3, 5], [7, 2, 1], [3, 3, 4], [1, 8, 1], [2, 6, 2], [6, 1, 3]])
    probs = np.repeat(odds / 10, 10, axis=0)
    labels = np.concatenate([np.repeat(np.arange(3), row) for row in odds])
    sharpened = softmax(np.log(probs) * temperature, axis=1)
    forecast = Forecast(sharpened, labels, np.arange(len(labels)).astype(str))
    fitted = calibration.fit_temperature(forecast)
    assert fitted.value == pytest.approx(temperature, rel=1e-4)
    assert not fitted.is_at_limit
    assert fitted.nll_after == pytest.approx(-(np.log(odds / 10) * odds / 10).sum(axis=1).mean())
    assert forecast.scale(fitted.value).probs == pytest.approx(probs, abs=1e-4)


def test_scaling_keeps_what_is_named():
    forecast = draw_forecast(sharpness=3)
    scaled = forecast.scale(2.5)
    assert (scaled.is_right == forecast.is_right).all()
    assert scaled.probs.sum(axis=1) == pytest.approx(1)
    assert scaled.confidence.mean() < forecast.confidence.mean()


def test_validation_without_an_error_has_no_temperature():
    probs = np.tile([0.7, 0.3], (20, 1))
    fitted = calibration.fit_temperature(
        Forecast(probs, np.zeros(20, int), np.arange(20).astype(str))
    )
    assert fitted.is_at_limit


def test_a_probability_of_zero_for_the_truth_is_a_large_loss_and_no_infinity():
    forecast = Forecast(np.array([[1.0, 0.0]] * 3), np.array([0, 1, 0]), np.array(["a", "b", "c"]))
    loss = calibration.score_forecast(forecast)["negative_log_likelihood"]
    assert loss == pytest.approx(-np.log(1e-300) / 3)
    assert np.isfinite(calibration.fit_temperature(forecast).value)


def test_interval_of_the_brier_score_is_near_the_normal_one():
    forecast = draw_forecast(600)
    found = calibration.estimate_scores(forecast)["brier"]
    parts = ((forecast.probs - np.eye(4)[forecast.labels]) ** 2).sum(axis=1)
    half = 1.96 * parts.std() / np.sqrt(600)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), 0.03)


def test_interval_of_the_calibration_error_holds_the_value_of_a_calibrated_model():
    found = calibration.estimate_scores(draw_forecast(150))["expected_calibration_error"]
    assert 0 <= found.low < found.value < found.high


def test_copies_in_a_group_do_not_narrow_the_intervals():
    single = draw_forecast(60)
    copies = Forecast(*(np.repeat(part, 5, axis=0) for part in vars(single).values()))
    alone, copied = calibration.estimate_scores(single), calibration.estimate_scores(copies)
    for name in calibration.SCORE_NAMES:
        assert (copied[name].low, copied[name].high) == pytest.approx(
            (alone[name].low, alone[name].high)
        )
    assert (copied["brier"].num_images, copied["brier"].num_groups) == (300, 60)


def test_bins_hold_every_image_once_and_say_how_many():
    forecast = draw_forecast(300, sharpness=60)
    bins = calibration.find_bins(forecast)
    assert len(bins) == 15
    assert sum(part.accuracy.num_images for part in bins) == 300
    assert (bins[0].low, bins[-1].high) == (0, 1)
    last = forecast.confidence >= bins[-1].low
    assert bins[-1].accuracy.num_images == last.sum()
    assert bins[-1].accuracy.value == pytest.approx(forecast.is_right[last].mean())
    assert np.isnan(bins[0].confidence)
    assert bins[-1].accuracy.low < bins[-1].accuracy.value < bins[-1].accuracy.high


def test_no_change_has_an_interval_of_no_width():
    forecast = draw_forecast(50)
    changes = calibration.estimate_changes(forecast, forecast)
    assert set(changes.values()) == {(0.0, 0.0, 0.0)}


def test_the_temperature_does_not_see_the_test_split(make_run):
    run = find_classifiers([make_run("x", skill=1.0)])[0]
    before = calibrate_run(run).temperature
    path = run.path / "predictions.csv"
    frame = pd.read_csv(path, dtype={"group": str})
    frame[["prob_a", "prob_b", "prob_c"]] = [0.98, 0.01, 0.01]
    frame.to_csv(path, index=False)
    after = calibrate_run(run)
    assert after.temperature == before
    path = run.path / "val_predictions.csv"
    frame = pd.read_csv(path, dtype={"group": str})
    frame["label"] = np.roll(frame["label"], 1)
    frame.to_csv(path, index=False)
    assert calibrate_run(run).temperature.value != before.value


def test_the_script_prints_and_writes(make_run, tmp_path, capsys):
    paths = (make_run("x", skill=1.0), make_run("y", skill=2.0, seed=1, is_synthetic=False))
    results = calibrate.main(calibrate.Options(runs=paths, out=tmp_path / "out"))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80 + len(str(tmp_path))
    assert "60 validation images in 60 groups" in " ".join(text.split())
    assert "60 groups are in validation and test" in " ".join(text.split())
    [folder] = (tmp_path / "out").glob("**/x")
    assert {path.name for path in folder.iterdir()} == {
        "temperature.json", "calibration.csv", "reliability.csv", "reliability.png",
    }  # fmt: skip
    record = json.loads((folder / "temperature.json").read_text())
    assert record["temperature"] == results[0].temperature.value
    assert (record["fitted_on"], record["classes"]) == ("val", ["a", "b", "c"])
    table = pd.read_csv(folder / "calibration.csv")
    assert table["change"].to_numpy() == pytest.approx(
        (table["after"] - table["before"]).to_numpy(), abs=2e-4
    )
    assert pd.read_csv(folder / "reliability.csv")["images"].sum() == 2 * 60
    assert np.asarray(Image.open(folder / "reliability.png")).std() > 5


def test_without_out_the_files_lie_in_the_run(make_run):
    path = make_run("x", is_synthetic=True, other_tests=("TestB",))
    calibrate.main(calibrate.Options(runs=(path,), test="TestB"))
    assert json.loads((path / "temperature.json").read_text())["synthetic"]
    assert (path / "reliability-TestB.png").is_file()


def test_a_run_without_validation_predictions_is_refused(make_run):
    run = find_classifiers([make_run("x", has_val=False)])[0]
    with pytest.raises(ValueError, match=r"val_predictions\.csv"):
        calibrate_run(run)


def test_images_in_both_splits_are_refused(make_run):
    run = find_classifiers([make_run("x")])[0]
    (run.path / "val_predictions.csv").write_bytes((run.path / "predictions.csv").read_bytes())
    with pytest.raises(ValueError, match="60 images are in validation and test"):
        calibrate_run(run)


@pytest.mark.parametrize(("column", "value"), [("prob_a", -0.5), ("prob_b", 1.5)])
def test_what_is_no_probability_is_refused(make_run, column, value):
    run = find_classifiers([make_run("x")])[0]
    path = run.path / "predictions.csv"
    frame = pd.read_csv(path, dtype={"group": str})
    frame.loc[7, column] = value
    frame.to_csv(path, index=False)
    with pytest.raises(ValueError, match="1 rows that are no probabilities"):
        calibrate_run(run)


def test_a_single_group_has_no_interval(make_run, capsys):
    calibrate.main(calibrate.Options(runs=(make_run("x", groups=["g"] * 60),)))
    assert "nan" not in capsys.readouterr().out
