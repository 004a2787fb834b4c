"""Studies: named variants of the cell classifier, each one thing away from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from experiments import base_wbc, fused_wbc
from experiments.cells import CellRecipe

EncoderName = Literal["prcc", "cam16", "random-prcc", "random-cam16", "cells", "imagenet", "depths"]
"""prcc, cam16: of the finished runs. random-...: the same shapes untrained, with the run's seed.
cells: an autoencoder of unlabelled cells. imagenet: a map of an ImageNet backbone as wide as the
prcc latent. depths: four maps of it, pooled."""

StudyName = Literal["fusion", "combine", "masks", "balance", "norm", "augment", "unfreeze"]

EQUAL_CHANNELS: Final = 152
"""A cell CNN of so many channels has 871,228 parameters; the fused model trains 861,552."""


@dataclass(frozen=True)
class Variant:
    """A cell CNN with encoders; `name` is that of its runs in every study."""

    name: str
    recipe: CellRecipe
    encoders: tuple[EncoderName, ...] = ()


@dataclass(frozen=True)
class ProbeVariant:
    """Logistic regression on frozen features, maps pooled; classes weighed equally or not."""

    name: str
    encoders: tuple[EncoderName, ...]
    is_balanced: bool = False


BASE: Final = Variant("base", CellRecipe(base_wbc.EPOCHS))
LONG_BASE: Final = Variant("base-14", replace(BASE.recipe, epochs=fused_wbc.EPOCHS))
FUSED: Final = Variant("fused", CellRecipe(fused_wbc.EPOCHS), ("prcc", "cam16"))
_PROBE: Final = ProbeVariant("probe-tissue", ("prcc", "cam16"))


def _vary(name: str, of: Variant = FUSED, **changes: object) -> Variant:
    return Variant(name, replace(of.recipe, **changes), of.encoders)  # type: ignore[arg-type]


STUDIES: Final[Mapping[StudyName, tuple[Variant | ProbeVariant, ...]]] = {
    "fusion": (
        BASE,
        LONG_BASE,
        _vary("base-wide", LONG_BASE, cnn_channels=EQUAL_CHANNELS),
        FUSED,
        replace(FUSED, name="prcc-only", encoders=("prcc",)),
        replace(FUSED, name="cam16-only", encoders=("cam16",)),
        replace(FUSED, name="random-encoders", encoders=("random-prcc", "random-cam16")),
        replace(FUSED, name="cells-only", encoders=("cells",)),
        replace(FUSED, name="imagenet-only", encoders=("imagenet",)),
        _PROBE,
        replace(_PROBE, name="probe-tissue-balanced", is_balanced=True),
        replace(_PROBE, name="probe-random", encoders=("random-prcc", "random-cam16")),
        replace(_PROBE, name="probe-depths", encoders=("depths",)),
        replace(_PROBE, name="probe-depths-balanced", encoders=("depths",), is_balanced=True),
    ),
    "combine": (
        FUSED,
        _vary("fused-concat", combine="concat"),
        _vary("fused-gated", combine="gated"),
    ),
    "masks": (FUSED, _vary("fused-no-masks", masks=False)),
    "balance": (
        FUSED,
        _vary("fused-class-weights", class_weights=True),
        _vary("fused-balanced-sampling", balanced_sampling=True),
    ),
    "norm": (FUSED, _vary("fused-group-norm", norm="group")),
    "augment": (
        LONG_BASE,
        _vary("base-14-flips-15", LONG_BASE, augment="flips-15"),
        _vary("base-14-flips-360", LONG_BASE, augment="flips-360"),
    ),
    "unfreeze": (
        FUSED,
        _vary("fused-unfrozen", encoder_rate=1.0),
        _vary("fused-unfrozen-slow", encoder_rate=0.01),
    ),
}
