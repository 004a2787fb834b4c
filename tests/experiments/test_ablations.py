"""Studies: what their variants are, the grid, and a tiny one run for real."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from datasets.cells import open_cells
from datasets.errors import DatasetError
from experiments import ablations, cells_autoencoder, grid
from experiments.grid import GridCell, find_draws, plan_grid
from experiments.studies import (
    BASE,
    EQUAL_CHANNELS,
    FUSED,
    LONG_BASE,
    STUDIES,
    ProbeVariant,
    Variant,
)
from experiments.study_encoders import find_encoder
from models.autoencoder import Autoencoder
from models.backbones import build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.errors import WeightsError
from models.fusion import FusionModel, count_parameters
from trainers.encoders import encoder_from_autoencoder_run, encoder_from_cam16_run
from trainers.errors import RunError
from trainers.hparams import HPARAMS_EVENTS
from trainers.prediction import Predictor, launch_prediction
from trainers.restore import restore_classifier
from trainers.run import read_finished, read_seen


@pytest.fixture
def options(
    tiny_bundle: Path, encoder_runs, feature_cache: Path, tmp_path: Path
) -> ablations.Options:
    return ablations.Options(
        data_root=tiny_bundle,
        runs_root=tmp_path / "runs",
        cache_root=feature_cache,
        prcc_run=encoder_runs[0],
        cam16_run=encoder_runs[1],
        imagenet_weights="random",
        epochs=1,
        max_train_images=5,
        splits=(100,),
        log_dir=tmp_path / "jobs",
        device="cpu",
        precision="32-true",
    )


def test_jobs_log_beside_the_runs_unless_told_otherwise(options, tmp_path):
    assert replace(options, log_dir=None).find_log_dir() == tmp_path / "runs" / "jobs"
    assert options.find_log_dir() == tmp_path / "jobs"


def test_a_name_stands_for_one_variant_in_all_studies():
    variants = [variant for study in STUDIES.values() for variant in study]
    by_name = {variant.name: variant for variant in variants}
    assert all(by_name[variant.name] == variant for variant in variants)


def test_the_wide_base_trains_as_many_parameters_as_the_fused_model():
    tumor = CamelyonClassifier(build_backbone("squeezenet1_1", "random"))
    fused = FusionModel([Autoencoder().frozen_encoder(), tumor.frozen_encoder()])
    wide = FusionModel(cnn_channels=EQUAL_CHANNELS)
    ratio = count_parameters(wide)[0] / count_parameters(fused)[0]
    assert 1 <= ratio < 1.02


def test_random_encoders_have_the_shapes_of_the_trained_ones():
    fusion = {variant.name: variant for variant in STUDIES["fusion"]}
    control, fused = fusion["random-encoders"], fusion["fused"]
    assert isinstance(control, Variant)
    assert control.encoders == tuple(f"random-{name}" for name in fused.encoders)
    assert control.recipe == FUSED.recipe


def test_a_probe_without_chance_is_run_once_a_draw():
    probe = ProbeVariant("probe", ("prcc",))
    control = ProbeVariant("control", ("random-prcc",))
    cells = plan_grid((BASE, probe, control), (1, 10), [None, Path("d")], range(3))
    counts = Counter(cell.variant.name for cell in cells)
    assert counts == {"base": 12, "probe": 4, "control": 12}
    assert [cell.label_percent for cell in cells] == [1] * 14 + [10] * 14
    assert len({cell.folder for cell in cells}) == len(cells)


def test_draws_that_are_not_there_are_refused(tmp_path):
    assert find_draws(tmp_path, 1) == [tmp_path]
    with pytest.raises(DatasetError, match=r"--draws 2: .* holds one draw.*--draw 0 1"):
        find_draws(tmp_path, 2)
    (tmp_path / "draw-0").mkdir()
    (tmp_path / "draw-0" / "manifest.csv").touch()
    with pytest.raises(DatasetError, match=r"--draws 2: there is no .*draw-1"):
        find_draws(tmp_path, 2)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"--data-root: there is no folder .*nowhere"):
        find_draws(tmp_path / "nowhere", 1)


def test_an_unknown_variant_is_refused_with_those_that_there_are():
    with pytest.raises(
        ValueError, match="--variants huge: the study combine has fused, fused-concat"
    ):
        ablations.Options(study="combine", variants=("huge",))


def test_the_dry_run_prints_the_plan_and_what_is_missing_and_runs_nothing(
    options, tmp_path, capsys
):
    lacking = replace(
        options, cam16_run=tmp_path / "nowhere", imagenet_weights=str(tmp_path / "w.pth")
    )
    assert ablations.main(replace(lacking, study="fusion", seeds=2, dry_run=True)) == []
    text = capsys.readouterr().out
    assert "random-encoders" in text
    assert "27 runs left" in text
    assert not (options.runs_root / "ablations").exists()
    assert f"{tmp_path / 'nowhere'} holds no finished run (--cam16-run)" in text
    assert f"{tmp_path / 'w.pth'}: no such file of weights (--imagenet-weights)" in text
    assert "--prcc-run" not in text, "it is there"


def test_a_plan_of_less_than_an_hour_is_told_in_minutes(options, monkeypatch):
    cells = [GridCell(BASE, 100, 0, options.data_root, 0)]
    for seconds, told in ((90, "about 1.5 minutes"), (9000, "about 2.5 hours")):
        monkeypatch.setattr(ablations, "estimate_seconds", lambda *_, s=seconds: s)
        assert told in ablations.format_plan(options, cells, cells)


def test_missing_weights_are_told_with_the_studys_own_flag(options, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    pretrained = replace(options, imagenet_weights="pretrained")
    with pytest.raises(WeightsError, match="pass --imagenet-weights PATH"):
        find_encoder("depths", pretrained, open_cells(options.data_root, 100))


def test_a_study_is_run_and_finished_runs_are_kept(options, capsys):
    chosen = replace(options, variants=("base", "imagenet-only", "probe-random"))
    results = ablations.main(chosen)
    assert [result.status for result in results] == ["finished"] * 3
    root = options.runs_root / "ablations"
    config, summary = read_finished(root / "probe-random/split-100/draw-0/seed-0")
    assert config["variant"] == "probe-random"
    assert summary["encoders"]["prcc"]["data"] == "nothing (random weights, seed 0)"
    assert 0 <= summary["test"]["accuracy"] <= 1
    assert (root / "probe-random/split-100/draw-0/seed-0/val_predictions.csv").is_file()
    run_dirs = sorted(result.run_dir for result in results)
    before = [(run_dir / HPARAMS_EVENTS).read_bytes() for run_dir in run_dirs]
    summary = (root / "base/split-100/draw-0/seed-0/summary.json").read_text()
    for run_dir in run_dirs:
        (run_dir / HPARAMS_EVENTS).unlink()
    again = ablations.main(chosen)
    assert [result.status for result in again] == ["earlier"] * 3
    assert (root / "base/split-100/draw-0/seed-0/summary.json").read_text() == summary
    assert [(run_dir / HPARAMS_EVENTS).read_bytes() for run_dir in run_dirs] == before
    printed = capsys.readouterr().out
    assert "0 runs left" in printed
    assert f"tensorboard --logdir {root}" in printed


def test_finished_cells_of_other_settings_are_refused_and_run_again_when_told_to(options):
    chosen = replace(options, variants=("base", "probe-random"), splits=(10,))
    root = options.runs_root / "ablations"
    summaries = [root / f"{name}/split-10/draw-0/seed-0/summary.json" for name in chosen.variants]
    ablations.main(chosen)
    before = [path.read_text() for path in summaries]
    with pytest.raises(RunError, match=r"base.*run otherwise:\n  --lr 0.01 there, 0.02 now"):
        ablations.main(replace(chosen, lr=0.02, dry_run=True))
    config = summaries[1].with_name("config.json")
    told = config.read_text()
    config.write_text(re.sub('"fingerprint": "[^"]*"', '"fingerprint": "x"', told))
    with pytest.raises(RunError, match="probe-random.*\n  other images or splits than those of"):
        ablations.main(chosen)
    config.write_text(told)
    assert [path.read_text() for path in summaries] == before
    again = ablations.main(replace(chosen, lr=0.02, overwrite=True))
    assert [result.status for result in again] == ["finished"] * 2
    assert json.loads(summaries[0].with_name("config.json").read_text())["options"]["lr"] == 0.02
    assert json.loads(summaries[0].read_text())["seconds"] != json.loads(before[0])["seconds"]


@pytest.fixture(scope="module")
def grid_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two studies, which share the variant ``fused``."""
    return tmp_path_factory.mktemp("grid")


@pytest.mark.parametrize(
    ("study", "name", "latents"),
    [("views", "fused-views-8", "prcc"), ("latents", "fused-pool-4", "prcc-pool-4")],
)
def test_views_and_small_latents_are_trained_on_and_predicted_from(
    options, grid_root, tiny_bundle, study, name, latents
):
    chosen = replace(
        options, runs_root=grid_root, study=study, variants=("fused", name), splits=(50,)
    )
    fused, run_dir = (result.run_dir for result in ablations.main(chosen))
    model = restore_classifier(run_dir).model
    assert isinstance(model, FusionModel)
    assert list(model.encoders) == [latents, "cam16"]
    losses = [pd.read_csv(path / "metrics.csv")["train/loss"].iloc[0] for path in (fused, run_dir)]
    assert losses[0] != losses[1], "the variant changed nothing"
    test = open_cells(tiny_bundle, 50).of_split("test")
    expected = pd.read_csv(run_dir / "predictions.csv", index_col="sample_id")
    restored = restore_classifier(run_dir)
    predictor = Predictor(restored, launch_prediction(restored.config, "cpu", "run"))
    found = predictor.predict([sample.path for sample in test], batch_size=16)
    columns = [f"prob_{label}" for label in predictor.classes]
    probs = expected.loc[[sample.sample_id for sample in test], columns].to_numpy()
    assert probs == pytest.approx(found.probs, abs=1e-4)
    assert probs.std(axis=0).max() > 1e-5, "constant: equality shows nothing"


def test_the_study_unfreeze_varies_the_rate_of_the_encoders_alone(options):
    frozen, *trained = STUDIES["unfreeze"]
    assert frozen == FUSED
    expected = replace(frozen.recipe.configure(options), trunk_lr=None)
    assert frozen.recipe.configure(options) == expected
    rates = {}
    for variant in trained:
        assert variant.encoders == frozen.encoders
        config = variant.recipe.configure(replace(options, lr=0.002))
        rates[variant.name] = config.trunk_lr
        assert replace(config, trunk_lr=None, max_lr=options.lr) == expected
    assert rates == {"fused-unfrozen": 0.002, "fused-unfrozen-slow": pytest.approx(0.00002)}


def test_the_plan_knows_that_encoders_take_time_to_train():
    base, fused, unfrozen = (
        grid.estimate_seconds(GridCell(variant, 100, 0, None, 0), 800, 90, 200)
        for variant in (LONG_BASE, FUSED, STUDIES["unfreeze"][1])
    )
    assert base < fused
    assert unfrozen > 2 * fused


def test_an_unfrozen_study_is_run_and_predicts_from_its_folder(
    options, tiny_bundle, encoder_runs, tmp_path
):
    chosen = replace(
        options, variants=("fused-unfrozen",), study="unfreeze", cache_root=tmp_path / "cache"
    )
    assert [result.status for result in ablations.main(chosen)] == ["finished"]
    run_dir = options.runs_root / "ablations/fused-unfrozen/split-100/draw-0/seed-0"
    config, summary = read_finished(run_dir)
    frozen = [
        encoder_from_autoencoder_run(encoder_runs[0], "prcc_autoencoder"),
        encoder_from_cam16_run(encoder_runs[1]),
    ]
    assert config["encoders"] == {entry.encoder.name: entry.describe() for entry in frozen}
    restored = restore_classifier(run_dir)
    for entry in frozen:
        trained = restored.model.encoders[entry.encoder.name].state_dict()
        still = [k for k, v in entry.encoder.state_dict().items() if torch.equal(v, trained[k])]
        assert {name.rpartition(".")[2] for name in still} <= {"mean", "std"}, entry.encoder.name
    number = sum(parameter.numel() for parameter in restored.model.parameters())
    assert summary["parameters"] == {"trained": number, "frozen": 0}
    assert not (chosen.cache_root / "features").exists(), "there is nothing to store"

    frame = pd.read_csv(run_dir / "predictions.csv").head(4)
    paths = {sample.sample_id: sample.path for sample in open_cells(tiny_bundle, 100).samples}
    predictor = Predictor(restored, launch_prediction(config, "cpu", "run"))
    found = predictor.predict([paths[name] for name in frame["sample_id"]]).probs
    expected = frame.filter(like="prob_").to_numpy()
    assert found == pytest.approx(expected, abs=1e-5)
    assert expected.std(axis=0).max() > 1e-4, "constant: equality shows nothing"


def test_a_failing_cell_does_not_stop_the_others_and_says_once_why(
    options, monkeypatch, capsys, caplog
):
    run_cell = grid.run_cell

    def fail(cell: GridCell, common: ablations.EncoderOptions):
        if cell.variant.name == "base":
            raise RunError("broken on purpose")
        return run_cell(cell, common)

    monkeypatch.setattr(ablations, "run_cell", fail)
    with pytest.raises(SystemExit):
        ablations.main(replace(options, variants=("base", "base-14")))
    printed = capsys.readouterr().out
    assert "1 of 2 runs failed" in printed
    assert "base-split-100-draw-0-seed-0.log" in printed
    assert (printed + caplog.text).count("broken on purpose") == 1
    summary = options.runs_root / "ablations/base-14/split-100/draw-0/seed-0/summary.json"
    assert json.loads(summary.read_text())["variant"] == "base-14"


def test_the_autoencoder_of_cells_sees_no_test_cell(tiny_bundle, tmp_path):
    run_dir = cells_autoencoder.main(
        cells_autoencoder.Options(
            data_root=tiny_bundle,
            runs_root=tmp_path,
            epochs=1,
            max_train_images=5,
            device="cpu",
            precision="32-true",
        )
    )
    cells = cells_autoencoder.read_cells(
        cells_autoencoder.Options(data_root=tiny_bundle), 100, masks=False
    )
    held_out = {sample.sha256 for sample in cells.of_split("test")}
    seen = read_seen(run_dir)
    assert seen
    assert not seen & held_out
