"""Encoders taken from finished runs; a new kind of encoder is one more function here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from models.autoencoder import Autoencoder
from models.backbones import RANDOM, WEIGHTS_FLAG, Backbone, build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.depths import Statistic, find_depths, pool_encoder, pooled_encoder, shrink_encoder
from models.encoder_spec import EncoderSpec
from models.frozen import Encoder, FrozenEncoder, hash_state, unfreeze
from trainers.errors import RunError
from trainers.restore import build_fitting, load_best
from trainers.run import read_finished

ALL_STATISTICS: Final[tuple[Statistic, ...]] = ("mean", "max", "std")


@dataclass(frozen=True)
class TrainedEncoder:
    """An encoder, frozen unless `unfreeze` was called, and where it comes from.

    Attributes:
        spec: What builds the encoder again.
        encoder: The encoder.
        data: Name of the data that it learnt from.
        is_synthetic: Whether those are synthetic.
        git_commit: Of the code that trained it.
    """

    spec: EncoderSpec
    encoder: Encoder
    data: str
    is_synthetic: bool
    git_commit: str | None

    def unfreeze(self) -> TrainedEncoder:
        """Return a copy that goes on learning as a part of another model."""
        if not isinstance(self.encoder, FrozenEncoder):
            return self
        spec = replace(self.spec, is_frozen=False)
        return replace(self, spec=spec, encoder=unfreeze(self.encoder))

    def describe(self) -> dict[str, Any]:
        """Return the entry of a run's config; without paths, so that folders may be moved.

        The hash is that of the weights with which the run begins.
        """
        return {
            "sha256": hash_state(self.encoder),
            "data": self.data,
            "git_commit": self.git_commit,
        }

    def require_still(self, sha256: str) -> None:
        """Raise if the encoder is no longer the one that a run began with.

        Raises:
            RunError: Its hash is not `sha256`.
        """
        if hash_state(self.encoder) != sha256:
            raise RunError(
                f"The frozen encoder {self.encoder.name} changed during the run. Its features are "
                "no longer those that were stored; this run must not be reported."
            )


def encoder_from_autoencoder_run(run_dir: Path, experiment: str, pool: int = 1) -> TrainedEncoder:
    """Return the encoder of a finished autoencoder run: latents (128, 64, 64) of 512 px images.

    Args:
        run_dir: Folder of the run.
        experiment: That it must be of: ``prcc_autoencoder``, or ``cells_autoencoder``.
        pool: Side of the squares over which latents are averaged; of 4 they are (128, 16, 16).

    Raises:
        RunError: The run is not finished, is another experiment's, or its checkpoint is broken.
    """
    _, summary = _read_run(run_dir, experiment)
    model = Autoencoder()
    load_best(model, run_dir)
    encoder = model.frozen_encoder()
    if pool > 1:
        encoder = shrink_encoder(encoder, pool)
    return _with_origin(EncoderSpec("autoencoder", pool=pool), encoder, summary)


def encoder_from_cam16_run(run_dir: Path) -> TrainedEncoder:
    """Return the encoder of a finished tumor classifier run: 5 features of 224 px images.

    Raises:
        RunError: The run is not finished, is another experiment's, or its checkpoint is broken.
    """
    backbone, model, summary = _read_cam16_run(run_dir)
    return _with_origin(EncoderSpec("camelyon", backbone.name), model.frozen_encoder(), summary)


def pooled_from_autoencoder_run(run_dir: Path, experiment: str) -> TrainedEncoder:
    """Return an autoencoder run's encoder with its map pooled: 384 features of 512 px images.

    Raises:
        RunError: As `encoder_from_autoencoder_run`.
    """
    latents = encoder_from_autoencoder_run(run_dir, experiment)
    spec = EncoderSpec("latents", statistics=ALL_STATISTICS)
    return replace(latents, spec=spec, encoder=pool_encoder(latents.encoder, ALL_STATISTICS))


def depths_from_cam16_run(
    run_dir: Path, statistics: Sequence[Statistic] = ALL_STATISTICS
) -> TrainedEncoder:
    """Return several depths of a tumor classifier's frozen trunk, pooled, of 224 px images.

    The tumor classifier never changed that trunk: what it knows, it knows from ImageNet.

    Raises:
        RunError: As `encoder_from_cam16_run`.
        ModelError: The trunk has no feature maps.
    """
    backbone, _, summary = _read_cam16_run(run_dir)
    spec = _depths_of(backbone, statistics)
    encoder = pooled_encoder(backbone, spec.nodes, spec.input_size, spec.statistics)
    return _with_origin(spec, encoder, summary)


def describe_depths(backbone: str) -> EncoderSpec:
    """Return what builds the encoder of `depths_from_cam16_run` for a backbone of this name."""
    return _depths_of(build_backbone(backbone, RANDOM), ALL_STATISTICS)


def _depths_of(backbone: Backbone, statistics: Sequence[Statistic]) -> EncoderSpec:
    size = CamelyonClassifier.input_size
    nodes = find_depths(backbone, size)
    return EncoderSpec("pooled", backbone.name, nodes, size, tuple(statistics))


def untrained_encoder(spec: EncoderSpec, seed: int) -> TrainedEncoder:
    """Return the control of an encoder: the same shape, frozen, with random weights of `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = spec.build()
    origin = f"nothing (random weights, seed {seed})"
    return TrainedEncoder(spec, encoder, origin, is_synthetic=False, git_commit=None)


def library_encoder(spec: EncoderSpec, weights: str, flag: str = WEIGHTS_FLAG) -> TrainedEncoder:
    """Return an encoder inside a backbone with a library's or a file's weights.

    Args:
        spec: Of the encoder.
        weights: As `build_backbone` takes them.
        flag: With which the user chooses them.

    Raises:
        ModelError: There is no such encoder.
        WeightsError: The weights are not to be had.
    """
    return TrainedEncoder(
        spec, spec.build(weights, flag), f"{spec.backbone}, {Path(weights).name}", False, None
    )


def _read_run(run_dir: Path, experiment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config, summary = read_finished(run_dir)
    if config["experiment"] != experiment:
        raise RunError(f"{run_dir} is a run of {config['experiment']}, not of {experiment}.")
    return config, summary


def _read_cam16_run(run_dir: Path) -> tuple[Backbone, CamelyonClassifier, dict[str, Any]]:
    """Return the trunk of a tumor classifier, the classifier with its weights, and the summary."""
    config, summary = _read_run(run_dir, "camelyon16_resnet18")
    name = config.get("backbone")
    if not isinstance(name, str):
        raise RunError(f"{run_dir}: its config.json names no backbone. Pass another run.")
    backbone: Backbone

    def build() -> CamelyonClassifier:
        nonlocal backbone
        backbone = build_backbone(name, RANDOM)
        return CamelyonClassifier(backbone)

    model = build_fitting(build, run_dir)
    return backbone, model, summary


def _with_origin(
    spec: EncoderSpec, encoder: FrozenEncoder, summary: dict[str, Any]
) -> TrainedEncoder:
    data = summary["data"]
    return TrainedEncoder(spec, encoder, data["name"], data["synthetic"], summary["git_commit"])
