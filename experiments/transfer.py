"""Where a transfer starts: a trunk of a finished run, of a library, or an untrained one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from datasets.samples import SampleSet
from datasets.taxonomy import Split
from models.backbone_classifier import BackboneClassifier
from models.backbones import RANDOM
from models.frozen import hash_state
from models.registry import BackboneSpec, parse_model
from trainers.errors import RunError
from trainers.restore import load_trunk, restore_classifier
from trainers.run import read_seen


@dataclass(frozen=True)
class Start:
    """What a model is before it is trained.

    Attributes:
        variant: What the run folder is called.
        spec: Of the model.
        weights: Of the trunk, as `build_backbone` takes them.
        initialise: Changes the new model; None: nothing.
        source: Identity of the run that the trunk comes from; without paths, so that folders may
            be moved.
        run_dir: Of that run.
    """

    variant: str
    spec: BackboneSpec
    weights: str = RANDOM
    initialise: Callable[[nn.Module], None] | None = None
    source: Mapping[str, Any] | None = None
    run_dir: Path | None = None

    @property
    def is_transfer(self) -> bool:
        """Whether the trunk has learnt, or stands for one that has: it is frozen first."""
        return not self.variant.startswith("scratch-")


def start_from_run(run_dir: Path, *, is_synthetic: bool) -> Start:
    """Return the start with a finished run's trunk and a new linear head.

    Backbone, normalization, color and input size are those of the run.

    Args:
        run_dir: Folder of the run.
        is_synthetic: Whether the cells to be learnt are.

    Raises:
        RunError: The run is not finished, has no trunk to take over, or learnt from synthetic
            images while the cells are real.
        CheckpointError: Its checkpoint is missing or broken.
    """
    restored = restore_classifier(run_dir)
    spec = parse_model(restored.config["model"])
    model = restored.model
    if not isinstance(spec, BackboneSpec) or not isinstance(model, BackboneClassifier):
        raise RunError(
            f"--from-run {run_dir}: its model has no trunk to take over. Pass a run of "
            "experiments/aml_resnext.py."
        )
    data = restored.summary["data"]
    if data["synthetic"] and not is_synthetic:
        raise RunError(
            f"The trunk of {run_dir} learnt from {data['name']}, which is synthetic, but the "
            "cells of --data-root are real. Pass --from-run of a run on real cells."
        )
    experiment = restored.config["experiment"]
    return Start(
        f"from-{experiment}-{spec.backbone}",
        replace(spec, head="linear", dropout=0.0, input_size=model.input_size),
        initialise=lambda new: _take_trunk(new, run_dir),
        source={
            "sha256": hash_state(model.trunk),
            "experiment": experiment,
            "data": data["name"],
            "git_commit": restored.summary["git_commit"],
        },
        run_dir=run_dir,
    )


def require_unseen(
    run_dir: Path,
    cells: SampleSet,
    flag: str = "--from-run",
    splits: Sequence[Split] = ("val", "test"),
) -> None:
    """Refuse to test what a run has learnt on images that it has seen.

    Args:
        run_dir: Folder of the run.
        cells: To be learnt and tested.
        flag: By which the run was given.
        splits: Whose images must be new.

    Raises:
        RunError: Some are not, or the run does not say what it has seen.
    """
    seen = read_seen(run_dir)
    held_out = [sample for split in splits for sample in cells.of_split(split)]
    known = [sample.sample_id for sample in held_out if sample.sha256 in seen]
    if known:
        raise RunError(
            f"{flag} {run_dir} has learnt from {len(known)} of the {len(held_out)} "
            f"{' and '.join(splits)} images of {cells.name}, e.g. {known[0]}: the test would not "
            "be one on new cells. Pass a run on other images; experiments/lay_out.py --half "
            "divides a set."
        )


def start_from_library(backbone: str, weights: str, size: int) -> Start:
    """Return the start with a library's trunk.

    Args:
        backbone: Any torchvision or timm classifier.
        weights: ``pretrained``, ``random`` or a file; of a file the name stands in the variant.
        size: Side of the images in pixels.
    """
    kind = Path(weights).stem
    return Start(f"{kind}-{backbone}", BackboneSpec(backbone, input_size=(size, size)), weights)


def start_from_scratch(backbone: str, norm: Any, size: int) -> Start:
    """Return the start with an untrained trunk, which is trained with its head from the start."""
    return Start(f"scratch-{backbone}", BackboneSpec(backbone, norm=norm, input_size=(size, size)))


def _take_trunk(model: nn.Module, run_dir: Path) -> None:
    if not isinstance(model, BackboneClassifier):
        raise TypeError(f"A {type(model).__name__} has no trunk.")
    load_trunk(model, run_dir)
