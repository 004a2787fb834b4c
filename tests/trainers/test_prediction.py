"""Predictions of finished runs equal those that the runs wrote for their test images."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from datasets.cells import open_cells
from datasets.samples import SampleSet
from experiments import base_wbc, fused_wbc
from experiments.classifiers import train_classifier
from experiments.options import RunOptions
from models.registry import BackboneSpec, GrayCnnSpec, SmallCnnSpec
from trainers.errors import RunError
from trainers.prediction import Predictions, Predictor, launch_prediction
from trainers.restore import restore_classifier

FLOAT32_TOLERANCE = 1e-5
BFLOAT16_TOLERANCE = 0.02


@pytest.fixture(scope="module")
def cells(tiny_bundle: Path) -> SampleSet:
    return open_cells(tiny_bundle, 100)


@pytest.fixture(scope="module")
def finished(
    tiny_bundle: Path,
    encoder_runs,
    feature_cache: Path,
    cells: SampleSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Run folders by name."""
    shared = {
        "data_root": tiny_bundle, "runs_root": tmp_path_factory.mktemp("finished"),
        "cache_root": feature_cache, "epochs": 1, "device": "cpu", "precision": "32-true",
        "max_train_images": 5, "lr": 1e-3,
    }  # fmt: skip
    fused = fused_wbc.Options(
        **shared, split=50, prcc_run=encoder_runs[0], cam16_run=encoder_runs[1]
    )
    runs = {
        "base": base_wbc.main(base_wbc.Options(**shared, split=50)),
        "fused": fused_wbc.main(fused),
    }
    resnet = BackboneSpec("resnet18", input_size=(32, 48), norm="group", grayscale=True)
    for name, spec, precision in (
        ("resnet", resnet, "32-true"),
        ("resnet bf16", resnet, "bf16-mixed"),
        ("small", SmallCnnSpec("baseline"), "32-true"),
        ("gray", GrayCnnSpec(), "32-true"),
    ):
        options = replace(RunOptions(**shared), precision=precision)
        config = options.trainer_config(1)
        runs[name] = train_classifier(options, Path(name, "seed-0"), cells, spec, config)
    return {name: run.path for name, run in runs.items()}


def predictor_of(run_dir: Path) -> Predictor:
    restored = restore_classifier(run_dir)
    return Predictor(restored, launch_prediction(restored.config, "cpu", "run"))


def predict(run_dir: Path, paths: list[Path], **arguments: int) -> Predictions:
    return predictor_of(run_dir).predict(paths, **arguments)


def paths_of(cells: SampleSet, run_dir: Path) -> tuple[list[Path], np.ndarray]:
    """Return the run's test images and the probabilities that it wrote for them."""
    frame = pd.read_csv(run_dir / "predictions.csv")
    path_of = {sample.sample_id: sample.path for sample in cells.samples}
    return [path_of[name] for name in frame["sample_id"]], frame.filter(like="prob_").to_numpy()


@pytest.mark.parametrize("name", ["base", "fused", "resnet", "resnet bf16", "small", "gray"])
def test_predictions_are_those_that_the_run_wrote(cells: SampleSet, finished, name: str):
    paths, expected = paths_of(cells, finished[name])
    found = predict(finished[name], paths, batch_size=5)
    assert list(found.paths) == paths
    assert not found.unreadable
    tolerance = BFLOAT16_TOLERANCE if "bf16" in name else FLOAT32_TOLERANCE
    assert found.probs == pytest.approx(expected, abs=tolerance)
    assert found.probs.std(axis=0).max() > 10 * FLOAT32_TOLERANCE, (
        "constant: equality shows nothing"
    )


def test_features_are_rounded_as_the_store_rounds_them(cells: SampleSet, finished, monkeypatch):
    predictor = predictor_of(finished["fused"])
    seen = {}
    monkeypatch.setattr(predictor.model, "forward", lambda _, features: seen.update(features))
    sample = cells.of_split("test")[0]
    images = predictor.collate([predictor.resize(Image.open(sample.path).convert("RGB"))])
    predictor.forward(images)
    assert {name: features.dtype for name, features in seen.items()} == {
        "prcc": torch.float16, "cam16": torch.float16,
    }  # fmt: skip


def test_run_folder_may_be_moved(cells: SampleSet, finished, tmp_path: Path):
    paths, expected = paths_of(cells, finished["fused"])
    moved = tmp_path / "somewhere else"
    for name in ("config.json", "summary.json", "checkpoints/best.ckpt"):
        (moved / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(finished["fused"] / name, moved / name)
    assert predict(moved, paths[:3]).probs == pytest.approx(expected[:3], abs=FLOAT32_TOLERANCE)


def test_unreadable_files_are_passed_over_and_the_order_is_kept(
    cells: SampleSet, finished, tmp_path: Path
):
    paths, expected = paths_of(cells, finished["small"])
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(paths[0].read_bytes()[:100])
    missing = tmp_path / "missing.png"
    given = [broken, *reversed(paths), missing]
    found = predict(finished["small"], given, batch_size=4, num_workers=3)
    assert list(found.paths) == paths[::-1]
    assert found.probs == pytest.approx(expected[::-1], abs=FLOAT32_TOLERANCE)
    assert list(found.unreadable) == [broken, missing]
    assert found.unreadable[missing] == "no such file"
    assert "--skip-unreadable" not in found.unreadable[broken]


def test_no_readable_image_gives_no_prediction(finished, tmp_path: Path):
    found = predict(finished["small"], [tmp_path / "missing.png"])
    assert found.paths == ()
    assert found.probs.shape == (0, 5)


def test_values_that_are_not_finite_are_refused(cells: SampleSet, finished):
    predictor = predictor_of(finished["small"])
    with torch.no_grad():
        next(predictor.model.parameters()).fill_(float("nan"))
    with pytest.raises(RunError, match="not finite for 1 of 1 images"):
        predictor.predict([cells.samples[0].path])


def test_weights_that_are_not_finite_are_told_from_a_precision_that_is_too_low(
    cells: SampleSet, finished, monkeypatch
):
    predictor = predictor_of(finished["small"])
    path = cells.samples[0].path
    monkeypatch.setattr(predictor, "forward", lambda _: torch.full((1, 5), float("nan")))
    with pytest.raises(RunError, match=r"first '.*'\. Pass --precision 32-true"):
        predictor.predict([path])
    with torch.no_grad():
        predictor.model.get_parameter("head.output.bias")[2] = float("inf")
    with pytest.raises(RunError, match=r"checkpoint itself.*head\.output\.bias.*--overwrite"):
        predictor.predict([path])


def test_unknown_precision_of_a_run_is_refused_and_can_be_replaced():
    with pytest.raises(RunError, match="'16-true'.*--precision"):
        launch_prediction({"precision": "16-true"}, "cpu", "run")
    launch_prediction({"precision": "16-true"}, "cpu", "32-true")
