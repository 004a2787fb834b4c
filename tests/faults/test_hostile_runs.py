"""Run folders, weights and archives from strangers."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import shlex
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from datasets.downloads import unpack as unpacking
from datasets.downloads.unpack import unpack
from datasets.errors import DatasetError
from datasets.image_roots import VARIABLE
from experiments import cli
from experiments.reporting.html.errors import Thumbnails
from experiments.reporting.identity import rebuild_command
from experiments.reporting.load_runs import FinishedRun, find_classifiers
from experiments.reporting.tables import write_table
from experiments.reporting.temperature_file import read_temperature
from models.backbones import read_state
from models.errors import ModelError
from models.registry import rebuild_model
from trainers import restore
from trainers.checkpoint import load_model_state, read_checkpoint
from trainers.errors import RunError
from trainers.restore import load_best, restore_classifier

ROOT = Path(__file__).resolve().parents[2]
SCORES = {"loss": 0.5, "accuracy": 0.5, "per_class": {"a": {}, "b": {}}}
SUMMARY = {
    "experiment": "small_cnn", "seed": 0, "epochs": 1, "seconds": 1.0, "test": SCORES,
    "data": {"name": "cells", "synthetic": False},
    "splits": {"train": {"images": {"a": 1, "b": 1}}},
}  # fmt: skip


class Touch:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def write_run(folder: Path, config: object = None, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({**SUMMARY, **changes}))
    config = config if config is not None else {"options": {}, "classes": ["a", "b"]}
    (folder / "config.json").write_text(json.dumps(config))
    rows = "sample_id,group,label,prob_a,prob_b\nx,x,a,0.4,0.6\ny,y,b,0.3,0.7\n"
    (folder / "predictions.csv").write_text(rows)
    return folder


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("loader", ["checkpoint", "weights", "renamed weights", "run"])
def test_no_loader_runs_what_a_pickle_says(loader: str, legacy: bool, tmp_path: Path):
    run, trap = write_run(tmp_path / "run"), tmp_path / "sprung"
    (run / "checkpoints").mkdir()
    path = run / "checkpoints/best.ckpt"
    torch.save({"model": Touch(trap)}, path, _use_new_zipfile_serialization=not legacy)
    renamed = tmp_path / "w.safetensors"
    renamed.write_bytes(path.read_bytes())
    load = {
        "checkpoint": lambda: read_checkpoint(path),
        "weights": lambda: read_state(path),
        "renamed weights": lambda: read_state(renamed),
        "run": lambda: load_best(torch.nn.Linear(1, 1), run),
    }[loader]
    with pytest.raises((RunError, ModelError)):
        load()
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists(), "the trap works"


def test_every_loader_of_the_project_is_among_them():
    """A new call of a function that could run code from a file must be tested above."""
    risky = re.compile(
        r"torch\.load\(|fabric\.load\(|pickle\.loads?\(|joblib|allow_pickle=True|read_pickle|"
        r"weights_only=False|yaml\.(unsafe_)?load\(|\beval\(\w|\bexec\(|load_state_dict_from_url|"
        r"extractall|ElementTree\.(parse|fromstring)|minidom"
    )
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for folder in ("models", "datasets", "trainers", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        for match in risky.finditer(path.read_text())
    }
    assert found == {
        "datasets/safe_xml.py: ElementTree.fromstring",
        "models/state_files.py: torch.load(",
    }
    calls = re.findall(r"torch\.load\(.*\)", (ROOT / "models/state_files.py").read_text())
    assert calls
    assert all("weights_only=True" in call for call in calls)


@pytest.mark.parametrize("state", [{}, [1], 3, {"weight": 3, "bias": None}], ids=str)
def test_checkpoint_of_other_things_than_tensors_is_refused(state: object):
    with pytest.raises(RunError, match=r"c\.ckpt"):
        load_model_state(torch.nn.Linear(2, 1), state, Path("c.ckpt"))


@pytest.mark.parametrize(
    "model",
    [3, [], {"kind": []}, {"kind": "fusion", "encoders": [], "cnn_channels": -1},
     {"kind": "fusion", "encoders": 7}, {"kind": "small_cnn", "variant": ["x"]},
     {"kind": "backbone", "backbone": "squeezenet1_1", "norm": "x"},
     {"kind": "fusion", "encoders": [], "cnn_channels": 10**9}],
    ids=str,
)  # fmt: skip
def test_model_that_cannot_be_built_is_refused(model: object):
    with pytest.raises(ModelError):
        rebuild_model(model, 2)


@pytest.mark.parametrize("classes", [None, "ab", [], [1, 2], ["a", "a"], {"a": 1}], ids=str)
def test_run_without_proper_classes_is_refused(classes: object, tmp_path: Path):
    run = write_run(tmp_path / "run", {"classes": classes, "model": {"kind": "gray_cnn"}})
    with pytest.raises(RunError, match="no model and classes"):
        restore_classifier(run)


@pytest.mark.parametrize("backbone", ["resnet18", "regnet_y_400mf"])
def test_a_model_larger_than_its_checkpoint_is_never_built(
    backbone: str, tmp_path: Path, monkeypatch
):
    """A backbone of gigabytes is one word in config.json."""
    model = {"kind": "backbone", "backbone": backbone}
    run = write_run(tmp_path / "run", {"classes": ["a", "b"], "model": model})
    (run / "checkpoints").mkdir()
    torch.save({"model": {"w": torch.zeros(2)}}, run / "checkpoints/best.ckpt")
    made = []

    def build(content: object, num_classes: int) -> torch.nn.Module:
        made.append(rebuild_model(content, num_classes))
        return made[-1]

    monkeypatch.setattr(restore, "rebuild_model", build)
    with pytest.raises(RunError, match="checkpoint of another model than BackboneClassifier"):
        restore_classifier(run)
    assert [p.shape for m in made for p in m.parameters() if not p.is_meta] == []


@pytest.mark.parametrize(
    "changes",
    [{"seed": "0"}, {"seed": True}, {"epochs": -1}, {"epochs": 10**30}, {"seconds": "long"},
     {"seconds": float("nan")}, {"experiment": []}, {"data": []}, {"test": {"per_class": []}},
     {"data": {"name": {}, "synthetic": 1}}, {"splits": {"train": 3}}, {"best_epoch": "x"},
     {"splits": {"train": {"images": {"a": "1"}}}}, {"splits": {"val": {}}}, {"parameters": [1]},
     {"other_tests": {"../../x": SCORES}}, {"other_tests": {"a/b": SCORES}},
     {"test": {**SCORES, "loss": "x"}}, {"test": {**SCORES, "restricted": {"classes": "a"}}}],
    ids=str,
)  # fmt: skip
def test_summary_with_other_things_than_numbers_and_names_is_refused(changes, tmp_path: Path):
    run = write_run(tmp_path / "run", **changes)
    with pytest.raises(ValueError, match=r"summary\.json is not of a finished classifier"):
        find_classifiers([run])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seconds": 10**400}, "seconds"),
        ({"test": {**SCORES, "accuracy": 10**400}}, "summary.json: test: accuracy"),
        ({"test": {**SCORES, "confusion_matrix": [[10**400]]}}, "test: confusion_matrix"),
        ({"test": {"per_class": {"a": {"f1": -1e300}}}}, "per_class: a: f1"),
    ],
    ids=["seconds", "accuracy", "matrix", "f1"],
)
def test_numbers_that_no_run_has_are_refused_wherever_they_stand(changes, name, tmp_path: Path):
    run = write_run(tmp_path / "run", **changes)
    with pytest.raises(ValueError, match=rf"{name} is -?1"):
        find_classifiers([run])


@pytest.mark.parametrize(
    "value",
    [10**400, 0, float("nan"), float("inf"), 1e-320],
    ids=["huge", "zero", "nan", "inf", "tiny"],
)
def test_a_temperature_that_no_logits_can_bear_is_refused(value, tmp_path: Path):
    (tmp_path / "temperature.json").write_text(json.dumps({"temperature": value}))
    with pytest.raises(ValueError, match=r"number above 0 and at most 1e\+15.*calibrate\.py"):
        read_temperature(tmp_path)


def test_good_run_is_accepted(tmp_path: Path):
    run = write_run(tmp_path / "run", label_percent=None, other_tests={"stage-1": SCORES})
    assert find_classifiers([run])[0].predictions()["pred"].tolist() == ["b", "b"]


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{", "[]", "\0", '{"a":' * 5000], ids=lambda text: text[:6]
)
@pytest.mark.parametrize("name", ["summary.json", "config.json"])
def test_broken_json_of_a_run_is_named(name: str, content: str, tmp_path: Path):
    run = write_run(tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(ValueError, match=name):
        find_classifiers([run])
    with pytest.raises(RunError, match=name):
        restore_classifier(run)


def test_command_of_a_run_leads_to_no_other_file_and_stays_one_argument(tmp_path: Path):
    config = {"experiment": "../x; rm -rf ~", "options": {"data_root": "$(x)", "a b": "`y`"}}
    command = rebuild_command(FinishedRun(tmp_path, config, {}))
    assert shlex.split(command) == [
        "python", "experiments/../x; rm -rf ~.py", "--data-root", "$(x)", "--a b", "`y`",
    ]  # fmt: skip


def test_page_takes_images_from_allowed_folders_only(tmp_path: Path, monkeypatch):
    (tmp_path / "private").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "private/x.png")
    config = {"options": {"data_root": str(tmp_path / "private")}}
    run = FinishedRun(tmp_path / "run", config, {})
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Thumbnails().find(run, "x.png")
    monkeypatch.setenv(VARIABLE, "")
    assert Thumbnails().find(run, "x.png") is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "private"))
    assert Thumbnails().find(run, "x.png")


def test_no_text_of_a_table_is_a_formula(tmp_path: Path):
    table = pd.DataFrame({"=cmd|x": ["=1+1", "@SUM(A1)", "-", "-2+3"], "n": [-1.0, 2, 3, 4]})
    write_table(table, tmp_path / "t.csv")
    read = pd.read_csv(tmp_path / "t.csv")
    assert list(read) == ["'=cmd|x", "n"]
    assert read["'=cmd|x"].tolist() == ["'=1+1", "'@SUM(A1)", "-", "'-2+3"]
    assert read["n"].tolist() == [-1, 2, 3, 4]


def test_names_in_errors_cannot_steer_the_terminal():
    record = logging.LogRecord(
        "x", 40, "", 0, "Error: %s", ("\x1b[2J\x1b]0;x\x07.png\nnext",), None
    )
    text = cli._WrappingFormatter("%(message)s").format(record)
    assert text == "Error: \\x1b[2J\\x1b]0;x\\x07.png\nnext"


def test_our_commands_show_tensorboard_to_this_machine_only():
    """Its default is localhost; only --host and --bind_all open it."""
    files = [*ROOT.glob("*.md"), ROOT / "Makefile"]
    files += [
        path for folder in ("experiments", "trainers") for path in (ROOT / folder).rglob("*.py")
    ]
    calls = [
        line for path in files for line in path.read_text().splitlines()
        if "tensorboard" in line and "--" in line
    ]  # fmt: skip
    assert any("--logdir" in line for line in calls)
    for line in calls:
        assert not re.search(r"--(bind_all|host)|0\.0\.0\.0", line)


def test_tar_header_of_gigabytes_is_refused_before_it_is_read(tmp_path: Path, monkeypatch):
    """A long name stands in a header that tarfile reads at once, however long it says to be."""
    monkeypatch.setattr(unpacking, "_MAX_HEADER", 10_000)
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 100_000
    content = info.tobuf(tarfile.GNU_FORMAT) + bytes(100_000 + 2048)
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DatasetError, match="archive bomb"):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_tar_entry_that_is_left_out_is_not_unpacked_without_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(unpacking, "MIN_LIMIT", 100_000)
    monkeypatch.setattr(unpacking, "MAX_RATIO", 1)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name in ("__MACOSX/a", "b"):
            info = tarfile.TarInfo(name)
            info.size = 10**6 if name != "b" else 0
            file.addfile(info, io.BytesIO(bytes(info.size)))
    (tmp_path / "bomb.tar.gz").write_bytes(buffer.getvalue())
    with pytest.raises(DatasetError, match="archive bomb"):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out")
