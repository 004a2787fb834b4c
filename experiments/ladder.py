"""The steps of the small-CNN ladder: models, epochs, weights, and the class without images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, get_args

from datasets.samples import SampleSet
from models.backbones import PRETRAINED, RANDOM, build_backbone
from models.errors import WeightsError
from models.registry import BackboneSpec, ModelSpec, SmallCnnSpec
from models.small_cnn import SmallCnn

Variant = Literal[
    "baseline",
    "overfit",
    "dropout-0.2",
    "dropout-0.4",
    "reduced",
    "l2-activity",
    "l1-l2",
    "vgg16",
    "resnet50",
    "final",
]
VARIANT_NAMES: Final[tuple[Variant, ...]] = get_args(Variant)
TRANSFER: Final[tuple[Variant, ...]] = ("vgg16", "resnet50")
OTHER: Final = "other"

EPOCHS, LONG_EPOCHS = 30, 50
SYNTHETIC_EPOCHS, SYNTHETIC_TRANSFER_EPOCHS = 4, 1
_LONG: Final[tuple[Variant, ...]] = ("l1-l2", "final")
_WEIGHT_SUFFIXES: Final = (".safetensors", ".pth", ".pt")


def add_other(cells: SampleSet) -> SampleSet:
    """Return the set with a fifth class, of which there is no image.

    It is an output of the model, never a label; scores stand over the classes that have images,
    and beside them those of the model when it may name no other.
    """
    return replace(cells, classes=(*cells.classes, OTHER))


def spec_of(variant: Variant) -> ModelSpec:
    """Return the model of a step: a small CNN, or dense layers on a backbone that stays frozen."""
    if variant in TRANSFER:
        return BackboneSpec(variant, head="dense-stack", input_size=SmallCnn.input_size)
    return SmallCnnSpec(variant)


def epochs_of(variant: Variant, *, is_synthetic: bool) -> int:
    """Return the epochs of the source system; on synthetic images few."""
    if is_synthetic:
        return SYNTHETIC_TRANSFER_EPOCHS if variant in TRANSFER else SYNTHETIC_EPOCHS
    return LONG_EPOCHS if variant in _LONG else EPOCHS


def find_weights(asked: str, variant: Variant) -> str:
    """Return the weights of a step's trunk as `build_backbone` takes them.

    Args:
        asked: ``pretrained``, ``random``, a file, or a folder that holds one by the variant's name.
        variant: Step of the ladder.

    Raises:
        WeightsError: The folder holds no such file.
    """
    if variant not in TRANSFER:
        return RANDOM
    if asked in (PRETRAINED, RANDOM) or not Path(asked).is_dir():
        return asked
    names = [f"{variant}{suffix}" for suffix in _WEIGHT_SUFFIXES]
    found = [Path(asked, name) for name in names if Path(asked, name).is_file()]
    if not found:
        raise WeightsError(f"--backbone-weights {asked} holds none of {', '.join(names)}.")
    return str(found[0])


def require_weights(variant: Variant, weights: str) -> None:
    """Raise now, and not after hours of other steps, if weights are not to be had.

    Raises:
        WeightsError: As `build_backbone`.
    """
    if variant in TRANSFER and weights != RANDOM:
        build_backbone(variant, weights)
