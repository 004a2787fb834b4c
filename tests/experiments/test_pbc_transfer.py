"""pbc_transfer.py on a few small images in the published layout, with a small backbone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.modules.batchnorm import _BatchNorm

from datasets.protocols import Protocol, open_protocol
from datasets.published import drop_absent_classes
from experiments import aml_resnext, pbc_transfer, training, transfer
from experiments.pbc_transfer import Options
from experiments.reporting.load_runs import FinishedRun
from models.backbones import build_backbone
from models.frozen import hash_state
from models.gray_cnn import GrayCnn
from trainers.checkpoint import read_checkpoint
from trainers.config import Stage
from trainers.errors import InterruptedRunError, RunError
from trainers.hooks.base import Hook
from trainers.restore import RestoredClassifier, restore_classifier
from trainers.run import SEEN_IMAGES, read_finished, read_seen

BACKBONE = "resnet10t"
SIZE = 32
PREFIXES = {
    "BA": "basophil", "EO": "eosinophil", "ERB": "erythroblast", "MY": "ig", "LY": "lymphocyte",
    "MO": "monocyte", "SNE": "neutrophil", "PLATELET": "platelet",
}  # fmt: skip


def draw_cells(folder: Path, name: str, number: int, hue: int) -> None:
    folder.mkdir(parents=True)
    for index in range(number):
        colour = (hue, 255 - hue, 40 + 5 * index)
        Image.new("RGB", (12, 10), colour).save(folder / name.format(index))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with tiny sets in the layouts of PBC and AML, and with a finished AML run."""
    out = tmp_path_factory.mktemp("transfer")
    for place, (prefix, label) in enumerate(PREFIXES.items()):
        folder = out / "PBC_dataset_normal_DIB" / label
        draw_cells(folder, f"{prefix}_{{}}.png", 10, 30 * place)
    for place, code in enumerate(("NGS", "MYO", "EBO")):
        draw_cells(out / "AML-Cytomorphology_LMU" / code, f"{code}_{{:04d}}.tiff", 10, 80 * place)
    aml_resnext.main(
        aml_resnext.Options(
            data_root=out,
            backbone=BACKBONE,
            input_size=SIZE,
            images_per_class=8,
            **common_options(out),
        )
    )
    return out


def common_options(out: Path) -> dict:
    return {
        "runs_root": out / "runs",
        "cache_root": out / "cache",
        "epochs": 1,
        "batch_size": 8,
        "find_copies": False,
        "device": "cpu",
        "precision": "32-true",
    }


def options_of(shared: Path, **changes) -> Options:
    given = {"data_root": shared, "images_per_class": 4, **common_options(shared), **changes}
    return Options(**given)


class Recorder(Hook):
    """Keeps the state before the fit and after each epoch, and the rate of each step."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.rates: list[dict[str, float]] = []
        self.batch_norms: list[str] = []

    def before_fit(self, trainer):
        self._keep(trainer)
        self.batch_norms = [
            name
            for name, layer in trainer.model.module.trunk.named_modules()
            if isinstance(layer, _BatchNorm)
        ]

    def after_backward(self, trainer):
        # Only of groups with a gradient: those alone are moved by the step.
        self.rates.append(
            {
                group["name"]: group["lr"]
                for group in trainer.optimizer.param_groups
                if any(p.grad is not None for p in group["params"])
            }
        )

    def after_epoch(self, trainer):
        self._keep(trainer)

    def moved(self, epoch: int) -> set[str]:
        before, after = self.states[epoch - 1 : epoch + 1]
        return {name for name in after if not torch.equal(before[name], after[name])}

    def trunk(self, place: int) -> dict[str, torch.Tensor]:
        return {
            name.removeprefix("trunk."): value
            for name, value in self.states[place].items()
            if name.startswith("trunk.")
        }

    def _keep(self, trainer):
        state = trainer.model.module.state_dict()
        self.states.append({name: value.clone() for name, value in state.items()})


class StopAt(Hook):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer):
        if trainer.global_step == self.step:
            raise InterruptedRunError("stopped")


def add_hook(monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    usual = training.default_hooks
    monkeypatch.setattr(training, "default_hooks", lambda *args: [*usual(*args), hook])


@pytest.fixture(scope="module")
def transferred(shared: Path) -> tuple[FinishedRun, Recorder]:
    """A finished transfer from the AML run, two epochs a phase, and what was seen of it."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_hook(monkeypatch, recorder)
        run = pbc_transfer.main(options_of(shared, epochs=2))
    return run, recorder


@pytest.fixture(scope="module")
def aml_run(shared: Path) -> Path:
    return shared / "runs/aml_resnext/80-10-10/seed-0"


def test_the_defaults_are_the_published_phases():
    options = Options(data_root=Path("x"))
    config = pbc_transfer.make_config(options, is_synthetic=False, is_transfer=True)
    assert config.stages == (
        Stage(10, 0.01, trunk_lr=None),
        Stage(10, 1e-5, trunk_lr=1e-5, train_batch_norm=False),
    )
    assert (config.epochs, config.images_per_class, config.augment) == (20, 3_000, "flips-360")
    scratch = pbc_transfer.make_config(options, is_synthetic=False, is_transfer=False)
    assert (scratch.epochs, scratch.stages, scratch.max_lr) == (20, (), 0.01)


def test_the_trunk_is_that_of_the_run(transferred, aml_run):
    _, recorder = transferred
    source = restore_classifier(aml_run).model.trunk.state_dict()
    taken = recorder.trunk(0)
    assert taken.keys() == source.keys()
    assert all(torch.equal(taken[name], source[name]) for name in source)


def test_phase_1_moves_the_top_only_and_phase_2_everything_but_batch_norm(transferred):
    _, recorder = transferred
    everything = set(recorder.states[0])
    top = {name for name in everything if name.startswith("head.")}
    norms = {
        name
        for name in everything
        if any(name.startswith(f"trunk.{norm}.") for norm in recorder.batch_norms)
    }
    assert len(recorder.batch_norms) > 5
    assert {name.rsplit(".", 1)[1] for name in norms} >= {"weight", "bias", "running_mean"}
    for epoch in (1, 2):
        assert recorder.moved(epoch) == top
    assert recorder.moved(3) | recorder.moved(4) == everything - norms


def test_phase_1_has_rate_0_01_for_the_top_and_phase_2_1e_5_for_all(transferred):
    _, recorder = transferred
    steps = 2 * (8 * 4 // 8)
    assert recorder.rates[:steps] == [{"head": 0.01}] * steps
    assert recorder.rates[steps:] == [{"trunk": 1e-5, "head": 1e-5}] * steps


def test_both_phases_are_tested_on_all_eight_classes(transferred):
    run, _ = transferred
    assert set(run.classes) == set(PREFIXES.values())
    assert run.other_tests == ["stage-1"]
    support = [row["support"] for row in run.summary["test"]["per_class"].values()]
    assert support == [1] * 8
    first, second = run.predictions("stage-1"), run.predictions()
    assert first["sample_id"].tolist() == second["sample_id"].tolist()
    for name in ("classes.csv", "classes-stage-1.csv", "confusion_matrix-stage-1.png"):
        assert (run.path / name).is_file(), name


def test_the_result_by_class_is_shown_after_each_phase(shared, transferred, capsys):
    pbc_transfer.main(options_of(shared, epochs=2, resume=True))
    printed = capsys.readouterr().out
    for phase in ("Phase 1, trunk frozen: accuracy", "Phase 2, tuned without batch norm: accuracy"):
        assert printed.count(phase) == 1
    header = next(
        line for line in printed.splitlines() if line.endswith("sensitivity      support")
    )
    assert header.split() == ["class", "accuracy", "precision", "sensitivity", "support"]


def test_the_source_is_recorded_without_its_path(transferred, aml_run, shared):
    config, summary = read_finished(transferred[0].path)
    restored = restore_classifier(aml_run)
    assert summary["source"] == config["source"] == {
        "sha256": hash_state(restored.model.trunk),
        "experiment": "aml_resnext",
        "data": "AML-Cytomorphology",
        "git_commit": restored.summary["git_commit"],
    }  # fmt: skip
    assert str(shared) not in json.dumps({**summary, **config, "options": None})
    assert config["model"]["backbone"] == BACKBONE
    assert config["model"]["input_size"] == [SIZE, SIZE]


def test_a_run_resumed_in_the_middle_of_phase_2_equals_an_uninterrupted_one(
    shared, transferred, tmp_path, aml_run
):
    run, _ = transferred
    options = options_of(shared, epochs=2, from_run=aml_run, runs_root=tmp_path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_hook(monkeypatch, StopAt(14))  # Of 16; phase 2 begins after step 8.
        with pytest.raises(InterruptedRunError):
            pbc_transfer.main(options)
    resumed = pbc_transfer.main(replace(options, resume=True))
    for name in ("metrics.csv", "predictions.csv", "predictions-stage-1.csv"):
        assert (resumed.path / name).read_bytes() == (run.path / name).read_bytes(), name
    ours, theirs = (
        read_checkpoint(path / "checkpoints/best.ckpt")["model"]
        for path in (resumed.path, run.path)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_from_scratch_everything_learns_from_the_start(shared, monkeypatch):
    recorder = Recorder()
    add_hook(monkeypatch, recorder)
    options = options_of(shared, from_scratch=True, backbone=BACKBONE, input_size=SIZE)
    run = pbc_transfer.main(options)
    assert run.path.parts[-2] == f"scratch-{BACKBONE}"
    assert (run.summary["epochs"], run.other_tests, run.summary["source"]) == (2, [], None)
    assert recorder.moved(1) == set(recorder.states[0])


def test_another_backbone_goes_through_the_same_phases(shared, tmp_path, monkeypatch):
    torch.manual_seed(1)
    weights = tmp_path / "mine.safetensors"
    state = build_backbone(BACKBONE, "random").trunk.state_dict()
    save_file(state, weights)
    recorder = Recorder()
    add_hook(monkeypatch, recorder)
    options = options_of(
        shared, backbone=BACKBONE, backbone_weights=str(weights), input_size=SIZE, epochs=1
    )
    run = pbc_transfer.main(options)
    assert run.path.parts[-2] == f"mine-{BACKBONE}"
    taken = recorder.trunk(0)
    assert all(torch.equal(taken[name], state[name]) for name in state)
    assert all(name.startswith("head.") for name in recorder.moved(1))
    assert run.other_tests == ["stage-1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"from_run": Path("r"), "from_scratch": True}, "--from-scratch is of use without --from"),
        ({"from_run": Path("r"), "backbone": "resnet18"}, "--backbone is of use without --from"),
        ({"from_run": Path("r"), "norm": "group"}, "--norm is of use with --from-scratch"),
        ({"from_run": Path("r"), "input_size": 64}, "--input-size is of use with --backbone or"),
        ({"backbone_weights": "random"}, "--backbone-weights is of use with --backbone"),
        (
            {"from_scratch": True, "backbone": "resnet18", "backbone_weights": "pretrained"},
            "--backbone-weights is of use with --backbone and without --from-scratch",
        ),
        ({"tuning_lr": 0.0}, "--tuning-lr must be larger than 0"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Options(**changes)


def test_a_trunk_that_learnt_from_synthetic_images_meets_no_real_cells(aml_run, monkeypatch):
    restored = restore_classifier(aml_run)
    restored.summary["data"]["synthetic"] = True
    monkeypatch.setattr(transfer, "restore_classifier", lambda run_dir: restored)
    with pytest.raises(RunError, match="which is synthetic, but the cells of --data-root are real"):
        transfer.start_from_run(aml_run, is_synthetic=False)
    start = transfer.start_from_run(aml_run, is_synthetic=True)
    assert start.variant == f"from-aml_resnext-{BACKBONE}"


def test_a_run_without_a_trunk_is_refused(monkeypatch, tmp_path):
    config = {"model": {"kind": "gray_cnn"}, "experiment": "raabin_resnet"}
    restored = RestoredClassifier(tmp_path, GrayCnn(2), ("a", "b"), config, {})
    monkeypatch.setattr(transfer, "restore_classifier", lambda run_dir: restored)
    with pytest.raises(RunError, match="its model has no trunk to take over"):
        transfer.start_from_run(tmp_path, is_synthetic=True)


def test_a_trunk_that_has_seen_the_test_images_is_refused(shared, aml_run, tmp_path):
    published = Options(data_root=shared).read("pbc")
    protocol = Protocol(0.1, 0.1, copies=None)
    drawn = open_protocol(published, protocol, shared / "cache")
    transfer.require_unseen(aml_run, drawn)
    seen = tmp_path / SEEN_IMAGES
    train, test = drawn.of_split("train")[0], drawn.of_split("test")[0]
    seen.write_text(f"{train.sha256}\n")
    transfer.require_unseen(tmp_path, drawn)
    seen.write_text(f"{train.sha256}\n{test.sha256}\n")
    with pytest.raises(RunError, match=r"has learnt from 1 of the \d+ val and test images"):
        transfer.require_unseen(tmp_path, drawn)
    seen.unlink()
    with pytest.raises(RunError, match="does not say which images it learnt from"):
        transfer.require_unseen(tmp_path, drawn)


def test_a_run_says_which_images_it_learnt_from(shared, aml_run):
    published, _ = drop_absent_classes(Options(data_root=shared).read("aml"))
    drawn = open_protocol(published, Protocol(0.1, 0.1, copies=None), shared / "cache")
    held_out = {sample.sha256 for sample in drawn.of_split("test")}
    everything = {sample.sha256 for sample in drawn.samples}
    assert read_seen(aml_run) == everything - held_out


def test_without_an_aml_run_real_cells_are_refused(shared, tmp_path):
    with pytest.raises(RunError, match="no finished run in .* Pass --from-run RUN"):
        pbc_transfer.main(options_of(shared, runs_root=tmp_path))


def test_without_data_the_aml_run_is_trained_first(tmp_path, monkeypatch, aml_run):
    asked: list[aml_resnext.Options] = []

    def train(options: aml_resnext.Options) -> FinishedRun:
        asked.append(options)
        return FinishedRun(aml_run, {}, {})

    monkeypatch.setattr(aml_resnext, "main", train)
    options = Options(runs_root=tmp_path / "runs", cache_root=tmp_path, device="cpu")
    found = pbc_transfer._find_aml_run(options)
    assert found == aml_run
    assert asked[0].data_root is None
    assert asked[0].resume
    assert asked[0].runs_root == tmp_path / "runs"
