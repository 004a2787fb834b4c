"""``fused_wbc.py --recipe strong`` as a user runs it, on a tiny synthetic bundle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from datasets.cells import open_cells
from datasets.samples import limit_training
from datasets.synthetic import SyntheticSizes, write_synthetic_bundle
from experiments import fused_wbc, probes
from experiments.probes import train_probe
from trainers.encoders import encoder_from_autoencoder_run, encoder_from_cam16_run
from trainers.errors import RunError
from trainers.prediction import Predictor, launch_prediction
from trainers.restore import restore_classifier
from trainers.run import read_finished, read_seen
from trainers.strong_probe import StrongConfig


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells a class to learn from, one for validation, one for the test."""
    root = tmp_path_factory.mktemp("few")
    sizes = SyntheticSizes(
        cells_by_class=(2,) * 5, val_cells_by_class=(2,) * 5, cell_size=48, tiles_by_class=4,
        tile_size=48, renal_images=3, renal_size=64,
    )  # fmt: skip
    write_synthetic_bundle(root, sizes)
    return root


@pytest.fixture
def options(bundle: Path, encoder_runs, tmp_path: Path) -> fused_wbc.Options:
    return fused_wbc.Options(
        data_root=bundle,
        runs_root=tmp_path / "runs",
        cache_root=tmp_path / "cache",
        prcc_run=encoder_runs[0],
        cam16_run=encoder_runs[1],
        recipe="strong",
        split=50,
        max_train_images=9,
        device="cpu",
        precision="32-true",
    )


def predict_again(run_dir: Path, bundle: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the run's first test predictions, and the predictor's for the same files."""
    frame = pd.read_csv(run_dir / "predictions.csv").head(4)
    paths = {sample.sample_id: sample.path for sample in open_cells(bundle, 100).samples}
    config, _ = read_finished(run_dir)
    predictor = Predictor(restore_classifier(run_dir), launch_prediction(config, "cpu", "run"))
    found = predictor.predict([paths[name] for name in frame["sample_id"]]).probs
    return frame.filter(like="prob_"), pd.DataFrame(found)


def test_the_run_holds_what_predict_needs_and_says_what_validation_chose(
    options, bundle, encoder_runs, monkeypatch
):
    few = partial(StrongConfig, unlabelled_weights=(0.0, 0.1), strengths=(1e-2, 1e-1))
    monkeypatch.setattr(fused_wbc, "StrongConfig", few)
    run = fused_wbc.main(options)
    assert run.path == options.runs_root / "fused_wbc" / "strong" / "split-50" / "seed-0"
    expected, found = predict_again(run.path, bundle)
    assert found.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)
    assert expected.to_numpy().std(axis=0).max() > 0.05, "constant: equality shows nothing"
    config, summary = read_finished(run.path)
    assert config["recipe"]["name"] == "strong"
    assert set(summary["choices"]) >= {"unlabelled_weight", "strength", "val"}
    backbone = read_finished(encoder_runs[1])[0]["backbone"]
    assert set(summary["encoders"]) == {f"{backbone}-depths", "prcc-pooled"}
    cells = limit_training(open_cells(bundle, 50, use_masks=False), 9)
    assert summary["unlabelled"] == len(cells.of_split("train")) - len(cells.of_split("train", 50))
    seen = read_seen(run.path)
    assert all(sample.sha256 in seen for sample in cells.of_split("train"))


def test_a_linear_probe_predicts_from_its_folder_too(options, bundle, encoder_runs):
    encoders = [
        encoder_from_cam16_run(encoder_runs[1]),
        encoder_from_autoencoder_run(encoder_runs[0], "prcc_autoencoder"),
    ]
    plain = replace(options, recipe="paper")
    run = train_probe(plain, 100, Path("ablations/probe/seed-0"), encoders, is_balanced=True)
    expected, found = predict_again(run.path, bundle)
    assert found.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)


def test_an_encoder_that_moves_during_the_run_of_a_probe_fails_it(
    options, encoder_runs, monkeypatch
):
    trained = encoder_from_cam16_run(encoder_runs[1])
    apply_probe = probes.apply_probe

    def apply_and_move(*arguments):
        with torch.no_grad():
            next(trained.encoder.parameters()).add_(1e-6)
        return apply_probe(*arguments)

    monkeypatch.setattr(probes, "apply_probe", apply_and_move)
    plain, folder = replace(options, recipe="paper"), Path("ablations/probe/seed-0")
    with pytest.raises(RunError, match="changed during the run.*must not be reported"):
        train_probe(plain, 100, folder, [trained], is_balanced=True)
    assert (options.runs_root / folder / "checkpoints" / "best.ckpt").exists()
    assert not (options.runs_root / folder / "summary.json").exists()


def test_options_that_the_recipe_would_not_heed_are_refused(options):
    with pytest.raises(ValueError, match=r"--epochs, --combine: without effect on --recipe strong"):
        replace(options, epochs=3, combine="concat")
