"""What both ways are given, and the networks of the fused system that both build."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from models.autoencoder import Autoencoder
from models.backbones import RANDOM, build_backbone
from models.camelyon_classifier import CamelyonClassifier
from models.encoder_spec import EncoderSpec
from models.frozen import FrozenEncoder
from models.fusion import FusionModel
from models.registry import FusionSpec
from trainers.device import Precision

BACKBONE = "resnet18"
"""Of the source system's tumor classifier."""


@dataclass(frozen=True)
class Job:
    """The same work for both ways.

    Attributes:
        images: Folder of class folders.
        data_root: What our readers are given for the same images.
        num_images: The first so many, by class and name.
        batch_size: Images a step.
        num_workers: Processes that load images beside the measured one.
        device: Where to compute.
        precision: Of our way; the plain one is in 32 bit.
        seed: Of weights and order.
        threads: Of PyTorch; None: its default.
        work_dir: For files that are deleted afterwards.
    """

    images: Path
    data_root: Path
    num_images: int
    batch_size: int
    num_workers: int
    device: Literal["cpu", "cuda"]
    precision: Precision
    seed: int
    threads: int | None
    work_dir: Path

    def set_up_process(self) -> None:
        """Use as many threads as asked for, and let Lightning be silent, as `run_script` does."""
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        if self.threads is not None:
            torch.set_num_threads(self.threads)


@dataclass(frozen=True)
class Networks:
    """The fused system with random weights, the same for the same seed.

    Attributes:
        autoencoder: Whose encoder is frozen.
        tumor: Whose five features are frozen.
        encoders: The two of them.
        fused: The classifier on top.
    """

    autoencoder: Autoencoder
    tumor: CamelyonClassifier
    encoders: tuple[FrozenEncoder, ...]
    fused: FusionModel


def fused_spec() -> FusionSpec:
    """Return what builds the fused classifier again."""
    return FusionSpec((EncoderSpec("autoencoder"), EncoderSpec("camelyon", BACKBONE)))


def build_networks(seed: int) -> Networks:
    """Return the networks of the fused system."""
    torch.manual_seed(seed)
    autoencoder = Autoencoder()
    tumor = CamelyonClassifier(build_backbone(BACKBONE, RANDOM))
    encoders = (autoencoder.frozen_encoder(), tumor.frozen_encoder())
    return Networks(autoencoder, tumor, encoders, fused_spec().assemble(encoders, 5))


def build_base(seed: int) -> FusionModel:
    """Return the base classifier."""
    torch.manual_seed(seed)
    return FusionSpec().assemble((), 5)


def build_autoencoder(seed: int) -> Autoencoder:
    """Return the autoencoder, to be trained."""
    torch.manual_seed(seed)
    return Autoencoder()
