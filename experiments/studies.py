"""Studies: named variants of the cell classifier, each one thing away from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from experiments import base_wbc, fused_wbc
from experiments.cells import CellRecipe
from trainers.strong_probe import StrongConfig

EncoderName = Literal[
    "prcc",
    "prcc-pool-2",
    "prcc-pool-4",
    "cam16",
    "random-prcc",
    "random-cam16",
    "cells",
    "imagenet",
    "depths",
    "prcc-pooled",
    "trunk-depths",
    "trunk-means",
    "random-prcc-pooled",
    "random-trunk-depths",
]
"""prcc, cam16: of the finished runs. prcc-pool-...: the latents of prcc, averaged over squares of
that side. random-...: the same shapes untrained, with the run's seed. cells: an autoencoder of
unlabelled cells. imagenet: a map of an ImageNet backbone as wide as the prcc latent. depths: four
maps of it, pooled. prcc-pooled: mean, maximum and deviation of each channel of the prcc latent.
trunk-depths: the same of several maps of the cam16 run's backbone; trunk-means: the mean alone."""

StudyName = Literal[
    "fusion",
    "combine",
    "masks",
    "balance",
    "norm",
    "augment",
    "views",
    "latents",
    "unfreeze",
    "strong",
]

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


@dataclass(frozen=True)
class StrongVariant:
    """The strong recipe of fused_wbc.py, or one of its parts changed."""

    name: str
    encoders: tuple[EncoderName, ...] = ("trunk-depths", "prcc-pooled")
    config: StrongConfig = field(default_factory=StrongConfig)


AnyVariant = Variant | ProbeVariant | StrongVariant

BASE: Final = Variant("base", CellRecipe(base_wbc.EPOCHS))
LONG_BASE: Final = Variant("base-14", replace(BASE.recipe, epochs=fused_wbc.EPOCHS))
FUSED: Final = Variant("fused", CellRecipe(fused_wbc.EPOCHS), ("prcc", "cam16"))
_PROBE: Final = ProbeVariant("probe-tissue", ("prcc", "cam16"))
_PROBE_DEPTHS: Final = replace(_PROBE, name="probe-depths", encoders=("depths",))
_STRONG: Final = StrongVariant("strong")
_RANDOM_POOLED: Final[tuple[EncoderName, ...]] = ("random-trunk-depths", "random-prcc-pooled")


def _vary(name: str, of: Variant = FUSED, **changes: object) -> Variant:
    return Variant(name, replace(of.recipe, **changes), of.encoders)  # type: ignore[arg-type]


def _vary_strong(name: str, **changes: object) -> StrongVariant:
    return StrongVariant(name, config=replace(_STRONG.config, **changes))  # type: ignore[arg-type]


STUDIES: Final[Mapping[StudyName, tuple[AnyVariant, ...]]] = {
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
        replace(_PROBE, name="probe-prcc", encoders=("prcc",)),
        replace(_PROBE, name="probe-random-prcc", encoders=("random-prcc",)),
        _PROBE_DEPTHS,
        replace(_PROBE_DEPTHS, name="probe-depths-balanced", is_balanced=True),
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
    "views": (
        LONG_BASE,
        _vary("base-14-views-8", LONG_BASE, views=8),
        FUSED,
        _vary("fused-views-8", views=8),
    ),
    "latents": (
        FUSED,
        replace(FUSED, name="fused-pool-2", encoders=("prcc-pool-2", "cam16")),
        replace(FUSED, name="fused-pool-4", encoders=("prcc-pool-4", "cam16")),
    ),
    "unfreeze": (
        FUSED,
        _vary("fused-unfrozen", encoder_rate=1.0),
        _vary("fused-unfrozen-slow", encoder_rate=0.01),
    ),
    "strong": (
        FUSED,
        _PROBE_DEPTHS,
        replace(_PROBE_DEPTHS, name="probe-depths-balanced", is_balanced=True),
        _STRONG,
        _vary_strong("strong-one-view", train_views=1, test_views=1),
        _vary_strong("strong-one-test-view", test_views=1),
        _vary_strong("strong-no-smoothing", smoothing=0.0),
        _vary_strong("strong-unbalanced", is_balanced=False),
        _vary_strong("strong-labelled-only", unlabelled_weights=(0.0,)),
        replace(_STRONG, name="strong-trunk-only", encoders=("trunk-depths",)),
        replace(_STRONG, name="strong-trunk-means", encoders=("trunk-means",)),
        replace(_STRONG, name="strong-prcc-only", encoders=("prcc-pooled",)),
        replace(_STRONG, name="strong-random", encoders=_RANDOM_POOLED),
    ),
}
