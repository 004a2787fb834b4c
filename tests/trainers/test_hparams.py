"""The rows of TensorBoard's HPARAMS tab, read by TensorBoard's own plugin."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context
from tensorboard.plugins.hparams.list_session_groups import Handler
from torch.utils.tensorboard import SummaryWriter

from trainers.config import TrainerConfig
from trainers.errors import RunError
from trainers.hparams import HPARAMS_EVENTS, write_hparams
from trainers.run import CONFIG, SUMMARY, write_json

SCORES = {"loss": 0.5, "accuracy": 0.75, "balanced_accuracy": 0.625, "macro_f1": 0.25}


def write_run(run_dir: Path, **facts: Any) -> Path:
    """Write what `write_hparams` reads of a finished run."""
    run_dir.mkdir(parents=True)
    config = {"experiment": "ablations", "seed": 3, "trainer": asdict(TrainerConfig(epochs=2))}
    write_json(run_dir / CONFIG, {**config, **facts})
    summary = {
        "splits": {"train": {"images": {"a": 4, "b": 2}, "masked": 1}},
        "parameters": {"trained": 7},
        "seconds": 60,
        "test": SCORES,
    }
    write_json(run_dir / SUMMARY, summary)
    return run_dir


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A fused run with the hyper-parameters that earlier versions wrote, and a probe."""
    model = {"kind": "fusion", "norm": "group", "cnn_channels": 64}
    known = {"label_percent": 10, "draw": 2}
    fused = write_run(
        tmp_path / "fused", variant="fused", model=model, encoders={"prcc": {}, "cam16": {}},
        combine="gated", **known,
    )  # fmt: skip
    with SummaryWriter(str(fused)) as writer:
        writer.add_hparams({"lr": 9.0}, {"test/accuracy": 0.75}, run_name=".")
    write_run(tmp_path / "probe", variant="probe", probe={"balanced": True}, **known)
    for name in ("fused", "probe"):
        write_hparams(tmp_path / name)
    return tmp_path


def read_tab(root: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the columns that TensorBoard shows at first, and all values of its rows."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(root))
    multiplexer.Reload()
    context = TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(root)))
    backend, request = backend_context.Context(context), RequestContext()
    runs = backend.hparams_metadata(request, "")
    experiment = backend.experiment_from_metadata(request, "", True, runs, [])
    asked = api_pb2.ListSessionGroupsRequest(
        slice_size=100, allowed_statuses=[api_pb2.STATUS_SUCCESS]
    )
    rows = [
        {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
        | {metric.name.tag: metric.value for metric in group.metric_values}
        | {"name": group.name}
        for group in Handler(request, backend, "", asked).run().session_groups
    ]
    return [info.name for info in experiment.hparam_infos][:5], rows


def test_tensorboard_shows_every_run_of_a_study_with_what_tells_them_apart(study: Path):
    columns, (fused, probe) = read_tab(study)
    assert columns == ["combine", "draw", "label_percent", "seed", "variant"]
    assert (fused["name"], probe["name"]) == ("fused", "probe")
    assert [fused[name] for name in columns] == ["gated", 2, 10, 3, "fused"]
    assert (fused["model"], fused["encoders"], fused["norm"]) == ("fusion", "prcc, cam16", "group")
    assert (fused["train_images"], fused["masked_images"]) == (6, 1)
    assert fused["class_weights"] is False
    assert (probe["variant"], probe["model"]) == ("probe", "linear probe")
    assert "combine" not in probe
    for name, score in SCORES.items():
        assert fused[f"test/{name}"] == probe[f"test/{name}"] == score


def test_rows_of_earlier_versions_give_way(study: Path):
    for row in read_tab(study)[1]:
        assert "lr" not in row
        assert row["max_lr"] == 0.01


def test_written_again_it_is_the_same_file(study: Path):
    before = (study / "probe" / HPARAMS_EVENTS).read_bytes()
    write_hparams(study / "probe")
    assert (study / "probe" / HPARAMS_EVENTS).read_bytes() == before


def test_a_run_that_is_no_classifiers_is_refused(study: Path):
    write_json(study / "probe" / SUMMARY, {"seconds": 1, "test": {"loss": 1}})
    with pytest.raises(RunError, match="not of a finished classifier: KeyError"):
        write_hparams(study / "probe")
