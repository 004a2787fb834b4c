"""What TensorBoard's HPARAMS tab shows of finished classifiers: a row a run, the same columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from datasets.files import write_whole
from trainers.config import TrainerConfig
from trainers.errors import RunError
from trainers.run import SUMMARY, read_finished

HPARAMS_EVENTS: Final = Path("events.out.tfevents.0.hparams")
"""TensorBoard reads the files of a run by name and keeps the description that it meets first: this
one wins over those of earlier versions, which knew no variant and no draw."""

SCORES: Final = ("loss", "accuracy", "balanced_accuracy", "macro_f1")

_SHOWN: Final[Mapping[str, type]] = {
    "variant": str,
    "label_percent": float,
    "draw": float,
    "seed": float,
    "combine": str,
}
"""What tells the runs of a study apart. TensorBoard shows five columns until others are ticked."""

_FURTHER: Final[Mapping[str, type]] = {
    "experiment": str,
    "model": str,
    "encoders": str,
    "cnn_channels": float,
    "norm": str,
    "train_images": float,
    "masked_images": float,
    "trained_parameters": float,
}

_TYPES: Final = {
    bool: api_pb2.DATA_TYPE_BOOL,
    float: api_pb2.DATA_TYPE_FLOAT64,
    str: api_pb2.DATA_TYPE_STRING,
}


def write_hparams(run_dir: Path) -> None:
    """Write what a finished classifier is made of, and its test scores, as a file of events.

    Written again it is the same file.

    Raises:
        RunError: The run is not finished, is no classifier's, or its files are damaged.
        OSError: The folder cannot be written to.
    """
    config, summary = read_finished(run_dir)
    try:
        values = describe_hparams(config, summary)
        scores = {f"test/{name}": float(summary["test"][name]) for name in SCORES}
        seconds = float(summary["seconds"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{run_dir / SUMMARY} is not of a finished classifier: {error!r} is missing or "
            "damaged. Train it again with --overwrite."
        ) from error
    ended = (run_dir / SUMMARY).stat().st_mtime
    with write_whole(run_dir / HPARAMS_EVENTS) as temporary, temporary.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=ended, file_version="brain.Event:2").SerializeToString())
        for value in _summarise(values, scores, ended - seconds, ended):
            event = Event(wall_time=ended, summary=Summary(value=[value]))
            writer.write(event.SerializeToString())


def describe_hparams(
    config: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, bool | float | str]:
    """Return the run's value in each column that it has one for.

    Args:
        config: Of ``config.json``.
        summary: Of ``summary.json``.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: These are none of a classifier's.
    """
    model = config.get("model") or {}
    network = model.get("backbone") or model.get("kind")
    train = summary["splits"]["train"]
    known = {
        "views": 1,
        **config["trainer"],
        **{name: config.get(name) for name in ("experiment", "variant", "label_percent", "draw")},
        "seed": config["seed"],
        "model": "linear probe" if "probe" in config else network,
        "encoders": ", ".join(config.get("encoders") or ()) or "none",
        **{name: model.get(name) for name in ("cnn_channels", "norm")},
        "combine": config.get("combine"),
        "train_images": sum(train["images"].values()),
        "masked_images": train["masked"],
        "trained_parameters": summary["parameters"]["trained"],
    }
    return {
        name: kind(known[name])
        for name, kind in _columns().items()
        if known.get(name) not in (None, [])
    }


def _columns() -> dict[str, type]:
    """Return the type of each column; all runs have the same, as TensorBoard shows one list."""
    trainer: dict[str, type] = {}
    for name, hint in get_type_hints(TrainerConfig).items():
        # Of a Literal the arguments are values, not types.
        kinds = {hint, *(a if isinstance(a, type) else type(a) for a in get_args(hint))}
        trainer[name] = bool if bool in kinds else float if kinds & {int, float} else str
    del trainer["num_workers"], trainer["keep_on_gpu"]  # They do not change the result.
    return {**_SHOWN, **_FURTHER, **trainer}


def _summarise(
    values: Mapping[str, bool | float | str],
    scores: Mapping[str, float],
    started: float,
    ended: float,
) -> Iterator[Summary.Value]:
    """Yield columns, the run's values and status, and its scores; times in seconds since 1970."""
    experiment = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(name=name, type=_TYPES[kind], differs=name in _SHOWN)
            for name, kind in _columns().items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in scores],
    )
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=started)
    fields = {bool: "bool_value", float: "number_value", str: "string_value"}
    for name, value in values.items():
        setattr(start.hparams[name], fields[type(value)], value)
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=ended)
    data = plugin_data_pb2.HParamsPluginData
    for tag, content in (
        (metadata.EXPERIMENT_TAG, data(experiment=experiment)),
        (metadata.SESSION_START_INFO_TAG, data(session_start_info=start)),
        (metadata.SESSION_END_INFO_TAG, data(session_end_info=end)),
    ):
        described = metadata.create_summary_metadata(content)
        yield Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    for tag, score in scores.items():
        yield Summary.Value(tag=tag, simple_value=score)
