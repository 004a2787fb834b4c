"""predict.py: what it writes and prints, and pictures of what the model sees."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from datasets.cells import open_cells
from datasets.errors import DatasetError
from datasets.samples import SampleSet
from experiments import calibrate, predict
from experiments.classifiers import train_classifier
from experiments.explanations import feature_maps, find_cam_layer, grad_cam
from experiments.options import RunOptions
from experiments.reporting.prediction_tables import format_report, show
from experiments.reporting.predictions import PredictionReport, entropy_bits, write_report
from models.registry import BackboneSpec, FusionSpec, SmallCnnSpec
from trainers.errors import RunError
from trainers.prediction import Predictor, launch_prediction
from trainers.restore import RestoredClassifier, restore_classifier

HOSTILE = ("=1+1.png", 'a,"b".png', "line\nbreak\x1b[2J.png", "-x.png", "$y$.png")


@pytest.fixture(scope="module")
def cells(tiny_bundle: Path) -> SampleSet:
    return open_cells(tiny_bundle, 100)


@pytest.fixture(scope="module")
def run_dir(tiny_bundle: Path, cells: SampleSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small CNN on synthetic cells."""
    options = RunOptions(
        data_root=tiny_bundle,
        runs_root=tmp_path_factory.mktemp("runs"),
        epochs=1,
        lr=1e-3,
        device="cpu",
        precision="32-true",
        max_train_images=5,
    )
    config = options.trainer_config(1)
    spec = SmallCnnSpec("baseline")
    return train_classifier(options, Path("small", "seed-0"), cells, spec, config).path


@pytest.fixture
def folder(cells: SampleSet, tmp_path: Path) -> Path:
    """Five images with hostile names and a file that is none."""
    folder = tmp_path / "cells"
    folder.mkdir()
    for name, sample in zip(HOSTILE, cells.of_split("test"), strict=False):
        (folder / name).write_bytes(sample.path.read_bytes())
    (folder / "broken.png").write_text("no image")
    return folder


def options_for(run_dir: Path, *images: object, **more: object) -> predict.Options:
    return predict.Options(run_dir, tuple(map(str, images)), device="cpu", **more)


def report_of(probs: np.ndarray, **more: object) -> PredictionReport:
    paths = tuple(Path(f"folder/{index}.png") for index in range(len(probs)))
    info = {"experiment": "small_cnn", "data": "cells", "synthetic": False}
    classes = tuple(f"class {index}" for index in range(probs.shape[1]))
    return PredictionReport(info, classes, paths, dict(zip(paths, probs, strict=True)), {}, **more)


def test_csv_and_json_hold_every_image_in_order_and_agree(run_dir, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    out = (tmp_path / "p.csv", tmp_path / "deep" / "p.json")
    predict.main(options_for(run_dir, ".", out=out, watch_threshold=1.0))
    with out[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(out[1].read_text())
    expected = sorted([*HOSTILE, "broken.png"])
    assert [Path(row["path"]).name for row in rows] == expected
    assert not any(row["path"].startswith(("=", "-", "+", "@")) for row in rows)
    assert all(Path(row["path"]).is_file() for row in rows)
    readable = [row for row in rows if not row["error"]]
    assert len(readable) == len(content["predictions"]) == 5
    assert [entry["path"] for entry in content["unreadable"]] == ["broken.png"]
    assert content["synthetic"] is True
    assert content["to_watch"] == 5
    for row, entry in zip(readable, content["predictions"], strict=True):
        probs = entry["probabilities"]
        assert sum(probs.values()) == pytest.approx(1)
        ranked = sorted(probs, key=probs.__getitem__, reverse=True)[:3]
        assert [top["class"] for top in entry["top"]] == ranked
        assert [row["class"], row["second"], row["third"]] == ranked
        assert float(row["probability"]) == entry["probability"] == max(probs.values())
        assert float(row["entropy_bits"]) == entry["entropy_bits"]
        assert (row["watch"], entry["watch"]) == ("true", True)


def test_terminal_shows_few_images_as_rows_of_80_columns(run_dir, folder, capsys):
    predict.main(options_for(run_dir, folder, watch_threshold=0.99))
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed
    assert "Not readable, passed over: 1" in printed
    assert "of 5" in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "\x1b" not in printed
    assert r"line\nbreak" in printed


def test_many_images_are_counted_by_class():
    probs = np.full((30, 3), 0.05)
    probs[np.arange(30), [0] * 20 + [2] * 10] = 0.9
    probs[7] = [0.4, 0.35, 0.25]
    text = format_report(report_of(probs, watch_threshold=0.5))
    assert max(map(len, text.splitlines())) <= 80
    counts = {line[:7]: line.split()[2] for line in text.splitlines() if line.startswith("class ")}
    assert counts == {"class  ": "share", "class 0": "20", "class 1": "0", "class 2": "10"}
    assert "1 of 30" in text
    assert text.index("7.png") < text.index("0.png")


def test_the_model_of_a_study_is_called_by_its_variant():
    report = report_of(np.array([[0.5, 0.5]]))
    report.info.update(experiment="ablations", variant="probe-depths")
    assert format_report(report).startswith("1 image, read by probe-depths (ablations), which")


def test_watch_marks_probabilities_strictly_below_the_threshold():
    report = report_of(np.array([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]]), watch_threshold=0.6)
    assert [path.name for path in report.to_watch] == ["0.png"]


@pytest.mark.parametrize(
    ("probs", "bits"), [([1, 0, 0, 0], 0), ([0.25] * 4, 2), ([0.5, 0.25, 0.25, 0], 1.5)]
)
def test_entropy_is_in_bits(probs: list[float], bits: float):
    assert entropy_bits(np.array(probs, dtype=float)) == pytest.approx(bits)


def test_two_classes_have_no_third_and_a_failed_write_leaves_the_earlier_file(tmp_path):
    report = report_of(np.array([[0.7, 0.3]]))
    path = tmp_path / "p.csv"
    write_report(path, report)
    assert (
        path.read_text()
        .splitlines()[0]
        .startswith(
            "path,class,probability,second,second_probability,entropy_bits,error,prob_class 0"
        )
    )
    before = path.read_bytes()
    broken = report_of(np.array([[0.7, 0.3]]))
    object.__setattr__(broken, "paths", (*broken.paths, Path("unknown.png")))
    with pytest.raises(KeyError):
        write_report(path, broken)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_name_that_is_no_utf8_is_written_as_its_bytes(tmp_path):
    name = Path(b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    report = PredictionReport({}, ("a", "b"), (name,), {name: np.array([0.7, 0.3])}, {})
    write_report(tmp_path / "p.csv", report)
    write_report(tmp_path / "p.json", report)
    assert b"caf\xe9.png" in (tmp_path / "p.csv").read_bytes()
    assert json.loads((tmp_path / "p.json").read_text())["predictions"][0]["path"] == str(name)
    assert show(str(name)) == r"caf\udce9.png"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"out": (Path("p.txt"),)}, r"--out p.txt ends in none of .csv, .json"),
        ({"watch_threshold": 80.0}, r"--watch-threshold must be in \[0, 1\]"),
        ({"layer": "x"}, "pass --explain DIR"),
        ({"feature_maps": "x"}, "--feature-maps-out DIR together"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
    ],
)
def test_wrong_options_are_refused_naming_the_flag(more: dict, message: str):
    with pytest.raises(ValueError, match=message):
        predict.Options(Path("run"), ("a.png",), **more)


def test_no_image_and_the_runs_own_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="No image given"):
        predict.Options(tmp_path, ())
    with pytest.raises(ValueError, match="run's own folder"):
        predict.Options(tmp_path, ("a.png",), out=(tmp_path / "predictions.csv",))


def test_unusable_runs_and_images_are_errors_that_name_them(run_dir, encoder_runs, folder):
    with pytest.raises(RunError, match="no finished run"):
        predict.main(options_for(folder, folder))
    with pytest.raises(RunError, match="no run of a classifier"):
        predict.main(options_for(encoder_runs[0], folder))
    with pytest.raises(DatasetError, match="None of 1 file"):
        predict.main(options_for(run_dir, folder / "broken.png"))
    with pytest.raises(DatasetError, match=r"--layer 'nix'.*trunk\.0, trunk\.1, trunk\.2"):
        predict.main(options_for(run_dir, folder, explain=folder / "cam", layer="nix"))
    more = {"feature_maps": "nix", "feature_maps_out": folder / "maps"}
    with pytest.raises(DatasetError, match=r"--feature-maps 'nix'.*trunk\.0"):
        predict.main(options_for(run_dir, folder, **more))


def test_pictures_are_written_for_the_first_images(run_dir, folder, tmp_path):
    more = {"explain": tmp_path / "cam", "max_explain": 2, "feature_maps": "trunk.0"}
    predict.main(options_for(run_dir, folder, **more, feature_maps_out=tmp_path / "maps"))
    for name in ("cam", "maps"):
        pictures = sorted((tmp_path / name).iterdir())
        assert [path.name for path in pictures] == ["0001-_y_.png", "0002--x.png"]
        with Image.open(pictures[0]) as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture).std() > 5


def test_tempered_probabilities_are_those_of_logits_divided_by_the_runs_temperature(
    run_dir, folder, tmp_path
):
    run = Path(shutil.copytree(run_dir, tmp_path / "run"))
    with pytest.raises(ValueError, match=r"There is no .*temperature\.json. Run experiments/calib"):
        predict.main(options_for(run, folder, tempered=True))
    calibrate.main(calibrate.Options(runs=(run,)))
    path = run / "temperature.json"
    content = json.loads(path.read_text())
    assert content["temperature"] != 1
    content["temperature"] = 2.5
    path.write_text(json.dumps(content))
    plain, tempered = (
        predict.main(options_for(run, folder, tempered=is_tempered))
        for is_tempered in (False, True)
    )
    assert (plain.info["temperature"], tempered.info["temperature"]) == (1.0, 2.5)
    for image, probs in plain.probs.items():
        powers = np.exp(np.log(probs) / 2.5)
        assert np.allclose(tempered.probs[image], powers / powers.sum(), atol=1e-9)
    for wrong in (0, -1, "warm", None, True, float("inf")):
        path.write_text(json.dumps({"temperature": wrong}))
        with pytest.raises(ValueError, match="temperature"):
            predict.main(options_for(run, folder, tempered=True))


def test_grad_cam_is_the_mean_gradient_times_the_maps_cut_at_zero(run_dir, cells):
    restored = restore_classifier(run_dir)
    predictor = Predictor(restored, launch_prediction(restored.config, "cpu", "run"))
    assert find_cam_layer(predictor, None) == "trunk.1"
    image = Image.open(cells.of_split("test")[0].path).convert("RGB")
    batch = predictor.collate([predictor.resize(image)] * 2)
    heat = grad_cam(predictor, batch, "trunk.1", [1, 3])
    images = batch[60, 80]
    model = restored.model
    for row, target in enumerate((1, 3)):
        maps = functional.relu(functional.conv2d(images[row : row + 1], model.trunk[0].weight,
                                                 model.trunk[0].bias))  # fmt: skip
        maps.retain_grad()
        model.head(functional.max_pool2d(maps, 2).flatten(1))[0, target].backward()
        weights = maps.grad.mean(dim=(2, 3), keepdim=True)
        expected = (weights * maps).sum(dim=1).clamp(min=0)[0].detach()
        torch.testing.assert_close(heat[row], expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(
        feature_maps(predictor, batch, "trunk.1")[0], maps[0].detach(), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("spec", "layer"),
    [
        (BackboneSpec("resnet18", input_size=(64, 64)), "trunk.layer4"),
        (BackboneSpec("squeezenet1_1", input_size=(64, 64)), "trunk.features"),
        (FusionSpec(), "wbc_cnn.head.1"),
    ],
)
def test_last_map_is_found_and_weighed_also_behind_layers_that_overwrite(spec, layer: str):
    torch.manual_seed(0)
    model = spec.build(5, "random").eval()
    classes = tuple("abcde")
    restored = RestoredClassifier(Path("run"), model, classes, {}, {})
    predictor = Predictor(restored, launch_prediction({"precision": "32-true"}, "cpu", "run"))
    assert find_cam_layer(predictor, None) == layer
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    heat = grad_cam(predictor, predictor.collate([predictor.resize(Image.fromarray(noise))]),
                    layer, [0])  # fmt: skip
    assert heat.ndim == 3
    assert heat.min() >= 0
    assert torch.isfinite(heat).all()


def test_help_documents_every_flag(python):
    text = python("experiments/predict.py", "--help").stdout
    assert "python experiments/predict.py RUN" in text
    assert "--watch-threshold" in text
