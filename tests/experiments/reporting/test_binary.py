"""Class sums, thresholds chosen on validation, and what they do on test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from datasets.taxonomy import AML_ATYPICAL, AML_BLASTS
from experiments.reporting import binary, ranking
from experiments.reporting.figures_curves import draw_binary_roc
from experiments.reporting.load_runs import find_classifiers

AML = (
    "erythroblast", "lymphocyte_typical", "monoblast", "monocyte", "myeloblast",
    "neutrophil_segmented", "promyelocyte",
)  # fmt: skip
BLAST, ATYPICAL = binary.AML_TASKS


@pytest.fixture
def aml_run(make_run):
    labels = [AML[index % len(AML)] for index in range(210)]
    [run] = find_classifiers([make_run("aml", labels, classes=AML, skill=1.5)])
    return run


def edit(path, change) -> None:
    frame = pd.read_csv(path, dtype=str)
    change(frame)
    frame.to_csv(path, index=False)


def test_blast_is_myeloblast_or_monoblast_and_its_probability_their_sum(aml_run):
    result = binary.evaluate_binary(aml_run, BLAST)
    frame = aml_run.predictions()
    truth = frame["label"].isin(["myeloblast", "monoblast"])
    scores = frame["prob_myeloblast"] + frame["prob_monoblast"]
    assert result.used == ("monoblast", "myeloblast")
    assert (result.num_positive, result.num_negative) == (60, 150)
    assert result.auroc.value == pytest.approx(roc_auc_score(truth, scores))
    assert result.auroc.low < result.auroc.value < result.auroc.high
    for point in result.points:
        called = scores >= point.threshold
        assert point.sensitivity.value == pytest.approx(recall_score(truth, called))
        assert point.specificity.value == pytest.approx(recall_score(~truth, ~called))
        ppv = precision_score(truth, called)
        assert point.positive_predictive_value.value == pytest.approx(ppv)


def test_atypical_sums_the_taxonomy_s_classes_and_says_which_are_missing(aml_run):
    result = binary.evaluate_binary(aml_run, ATYPICAL)
    assert set(result.used) == AML_ATYPICAL & set(AML)
    assert BLAST.positives == AML_BLASTS < ATYPICAL.positives
    text = binary.format_binary([result])
    assert "sum of erythroblast, monoblast, myeloblast, promyelocyte" in text
    assert "the run has no lymphocyte_atypical" in text
    assert max(map(len, text.splitlines())) <= 80


def test_youden_and_sensitive_thresholds_by_hand():
    truth = np.array([True, True, True, True, False, False, False, False])
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.3, 0.15, 0.1])
    roc = ranking.find_roc(truth, scores)
    youden, sensitive = (roc.thresholds[binary.choose_threshold(roc, r)] for r in binary.RULES)
    assert youden == 0.7  # 3/4 + 4/4 - 1
    assert sensitive == 0.2  # the highest with at least 0.95
    useless = ranking.find_roc(truth, np.full(8, 0.5))
    assert useless.thresholds[binary.choose_threshold(useless, "youden")] == 0.5


def test_thresholds_come_from_validation_alone(aml_run):
    before = binary.evaluate_binary(aml_run, BLAST)

    def halve(frame: pd.DataFrame) -> None:
        for name in ("prob_myeloblast", "prob_monoblast"):
            frame[name] = frame[name].astype(float) / 2

    edit(aml_run.path / "predictions.csv", halve)
    after = binary.evaluate_binary(aml_run, BLAST)
    for old, new in zip(before.points, after.points, strict=True):
        assert new.threshold == old.threshold
        assert new.sensitivity.value < old.sensitivity.value
    assert after.auroc.value == pytest.approx(before.auroc.value)


def test_sensitive_threshold_keeps_its_promise_on_validation(aml_run):
    point = binary.evaluate_binary(aml_run, BLAST).points[1]
    assert point.rule == "sensitive"
    assert point.val_sensitivity >= 0.95


def test_missing_validation_predictions_are_said_clearly(aml_run):
    (aml_run.path / "val_predictions.csv").unlink()
    with pytest.raises(ValueError, match=r"no val_predictions.csv.*--overwrite"):
        binary.evaluate_binary(aml_run, BLAST)


def test_a_run_without_the_classes_is_refused(make_run):
    [run] = find_classifiers([make_run("abc")])
    with pytest.raises(ValueError, match="cannot answer 'blast'.*none count as positive"):
        binary.evaluate_binary(run, BLAST)
    with pytest.raises(ValueError, match="cannot answer 'any'"):
        binary.evaluate_binary(run, binary.BinaryTask("any", frozenset("abc")))


def test_a_split_without_positives_is_refused(make_run):
    labels = ["monocyte", "erythroblast"] * 5
    [run] = find_classifiers([make_run("few", labels, classes=AML)])
    with pytest.raises(ValueError, match="blast on validation .* 0 of 10 images are positive"):
        binary.evaluate_binary(run, BLAST)


def test_table_and_figure(aml_run):
    results = [binary.evaluate_binary(aml_run, task) for task in binary.AML_TASKS]
    table = binary.build_binary_table(results)
    assert table["test"].tolist() == ["blast", "blast", "atypical", "atypical"]
    assert table["rule"].tolist() == ["youden", "sensitive"] * 2
    assert table.loc[0, "positives"] == 60
    assert table.notna().all(axis=None)
    picture = draw_binary_roc(results, "toy", is_synthetic=True)
    assert picture.shape[1] > 1.5 * picture.shape[0], "a panel a test"
    assert picture.std() > 5
