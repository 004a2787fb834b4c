"""Models of finished runs, built again from the run folder alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from models.backbone_classifier import BackboneClassifier
from models.errors import ModelError
from models.outline import outline
from models.registry import rebuild_model
from trainers.checkpoint import load_model_state, read_checkpoint, require_state_of
from trainers.errors import RunError
from trainers.run import BEST_CHECKPOINT, read_finished

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class RestoredClassifier:
    """A finished classifier run.

    Attributes:
        run_dir: The run folder.
        model: With the weights that were tested, in evaluation mode; it has an ``input_size``.
        classes: Class names in the order of the logits.
        config: Of ``config.json``.
        summary: Of ``summary.json``.
    """

    run_dir: Path
    model: nn.Module
    classes: tuple[str, ...]
    config: dict[str, Any]
    summary: dict[str, Any]


def restore_classifier(run_dir: Path) -> RestoredClassifier:
    """Return the classifier of a finished run.

    Raises:
        RunError: The run is not finished, or is none of a classifier.
        CheckpointError: Its checkpoint is broken or of another model.
    """
    config, summary = read_finished(run_dir)
    named = config.get("classes")
    classes = tuple(named) if isinstance(named, list) else ()
    data = summary.get("data")
    if (
        not classes
        or not all(isinstance(name, str) for name in classes)
        or len(set(classes)) < len(classes)
        or "model" not in config
        or not isinstance(data, dict)
        or not {"name", "synthetic"} <= set(data)
        or "experiment" not in summary
    ):
        raise RunError(
            f"{run_dir} names no model and classes in its config.json, or no data in its "
            "summary.json: it is no run of a classifier, or of an earlier version of this "
            "project. Pass another run, or train it again with --overwrite."
        )
    try:
        model = build_fitting(lambda: rebuild_model(config["model"], len(classes)), run_dir)
    except ModelError as error:
        raise RunError(f"The model of {run_dir} cannot be built: {error}") from error
    return RestoredClassifier(run_dir, model.eval(), classes, config, summary)


def build_fitting(build: Callable[[], Model], run_dir: Path) -> Model:
    """Return the model that `build` makes, with the weights of a run's best epoch.

    First it is made without values and compared with the checkpoint: a run folder cannot make it
    take more memory than the checkpoint has.

    Raises:
        CheckpointError: The checkpoint is missing, broken or of another model.
        ModelError: The model cannot be built.
    """
    path = run_dir / BEST_CHECKPOINT
    state = read_checkpoint(path).get("model", {})
    outlined = outline(build)
    if outlined is not None:
        require_state_of(outlined, state, path)
    model = build()
    load_model_state(model, state, path)
    return model


def load_best(model: nn.Module, run_dir: Path) -> None:
    """Load the weights of a run's best epoch into `model`.

    Raises:
        CheckpointError: The checkpoint is missing, broken or of another model.
    """
    path = run_dir / BEST_CHECKPOINT
    load_model_state(model, read_checkpoint(path).get("model", {}), path)


def load_trunk(model: BackboneClassifier, run_dir: Path) -> None:
    """Load the trunk of a finished run's classifier into that of `model`.

    Raises:
        RunError: The run is not finished, or its model has no trunk of this kind.
        CheckpointError: Its checkpoint is broken.
    """
    source = restore_classifier(run_dir)
    if not isinstance(source.model, BackboneClassifier):
        raise RunError(f"The model of {run_dir} has no trunk to take over.")
    load_model_state(model.trunk, source.model.trunk.state_dict(), run_dir / BEST_CHECKPOINT)
