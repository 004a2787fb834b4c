"""How well does a tuned ResNet tell Raabin-WBC's cells apart, and on another microscope?

Trains all layers, 25 epochs at a constant 1e-5, with the loss weighted by total / class count.

    python experiments/raabin_resnet.py --data-root DIR --depth {18,34,50} [--trials 5]
    python experiments/raabin_resnet.py --data-root DIR --protocol testa-testb --norm group
    python experiments/raabin_resnet.py --data-root DIR --model gray-cnn --lr 0.001

pooled: Train, TestA and TestB as one pool, stratified 75/15/10. testa-testb: trained on Train, of
which validation is drawn, tested on TestA and on TestB, the other microscope, which lacks classes:
its scores are also given restricted to those that it holds. experiments/compare.py compares runs.

Without DIR: synthetic cells, 3 epochs at 64 px, a minute on two cores. Where the pretrained weights
are not to be had, random ones take their place there, which learn at --lr 0.001.

The source system reports, pooled, accuracy 0.981 and macro F1 0.960 for ResNet-18, and 9 to 17
minutes on a V100.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.errors import DatasetError
from datasets.protocols import Protocol, open_protocol
from datasets.published import select_parts
from datasets.samples import Sample, SampleSet
from experiments.classifiers import PublishedOptions, train_classifier
from experiments.cli import run_script
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.several_tests import format_further_test, format_tests
from models.backbones import PRETRAINED, RANDOM
from models.normalization import Norm
from models.registry import BackboneSpec, GrayCnnSpec, ModelSpec
from trainers.device import hide_bars

EXPERIMENT: Final = "raabin_resnet"
EPOCHS, SYNTHETIC_EPOCHS = 25, 3
SYNTHETIC_SIZE: Final = (64, 64)
SPLITS: Final = Protocol(val_fraction=0.15, test_fraction=0.10)
"""Drawn once, whatever the seed of a run: trials and models are compared on the same images."""
TEST, OTHER_TEST = "TestA", "TestB"
SCRATCH_LR: Final = 1e-4
"""Below it a network that begins with random weights hardly moves in 25 epochs."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options(PublishedOptions):
    """Options of the ResNets on Raabin-WBC."""

    depth: Literal[18, 34, 50] = 18
    """Of the ResNet."""
    protocol: Literal["pooled", "testa-testb"] = "pooled"
    """What is trained and tested on (see above)."""
    model: Literal["resnet", "gray-cnn"] = "resnet"
    """gray-cnn: a CNN of 79,381 parameters on gray images of 96 px instead."""
    norm: Norm = "batch"
    """In place of batch norm: group norm, or batch norm that keeps ImageNet's statistics."""
    grayscale: bool = False
    """Show the ResNet the luminance only."""
    input_size: tuple[int, int] | None = None
    """Height and width in pixels. Default: the backbone's own; 64 64 for synthetic images."""
    backbone_weights: str = PRETRAINED
    """pretrained, random, or the path of a safetensors file or state dict."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Weight decay 1e-4 is an L2 penalty for adam, decoupled for adamw."""
    trials: int = 1
    """Train with so many seeds, from --seed on, one after the other."""
    batch_size: int = 32
    """Images a step and process."""
    lr: float = 1e-5
    """Constant rate of all layers; weights that begin at random need one of about 0.001."""
    clip: Literal["value", "norm", "none"] = "none"
    """How gradients are clipped: by value, by total norm, or not."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, and what would be of no use.

        Raises:
            ValueError: Naming the flag.
        """
        super().__post_init__()
        if self.trials < 1:
            raise ValueError(f"--trials must be 1 or more, not {self.trials}.")
        if self.input_size is not None and min(self.input_size) < 1:
            raise ValueError(f"--input-size must be larger than 0, not {self.input_size}.")
        if self.model == "gray-cnn":
            for name in ("depth", "norm", "grayscale", "input_size", "backbone_weights"):
                if getattr(self, name) != getattr(type(self), name):
                    flag = f"--{name.replace('_', '-')}"
                    raise ValueError(f"{flag} is of no use to --model gray-cnn. Leave it out.")

    @property
    def variant(self) -> str:
        """Name of what is trained and how; a part of the run folder."""
        named = (
            f"resnet{self.depth}" if self.model == "resnet" else self.model,
            "" if self.norm == "batch" else self.norm,
            "grayscale" if self.grayscale else "",
            "" if self.optimizer == "adam" else self.optimizer,
        )
        return "-".join(filter(None, named))

    def describe_model(self, *, is_synthetic: bool) -> ModelSpec:
        """Return what model is trained."""
        if self.model == "gray-cnn":
            return GrayCnnSpec()
        size = self.input_size or (SYNTHETIC_SIZE if is_synthetic else None)
        return BackboneSpec(
            f"resnet{self.depth}", norm=self.norm, input_size=size, grayscale=self.grayscale
        )


def main(options: Options) -> list[FinishedRun]:
    """Train and test with each seed, or find it finished; return the runs."""
    _warn_of_random_weights(options)
    cells, other_tests = read_cells(options)
    seeds = range(options.seed, options.seed + options.trials)
    # One trial each, so that a run's options are the command that makes this run.
    runs = [_train(replace(options, seed=s, trials=1), cells, other_tests) for s in seeds]
    if not hide_bars() and (other_tests or len(runs) > 1):
        print(f"{format_tests(runs, TEST if other_tests else 'test')}\n")
    return runs


def read_cells(options: Options) -> tuple[SampleSet, dict[str, list[Sample]]]:
    """Return the cells with the splits of the protocol, and the samples of further tests.

    Raises:
        DatasetError: The set cannot be used, or lacks a part that the protocol tests on.
    """
    published = options.read("raabin")
    is_pooled = options.protocol == "pooled"
    missing = [part for part in (TEST, OTHER_TEST) if not any(published.count(part).values())]
    if missing and not is_pooled:
        raise DatasetError(
            f"--protocol testa-testb: {published.root} has no images in {' and '.join(missing)}. "
            "Complete the set, or pass --protocol pooled."
        )
    # Both tests are drawn together, so that training holds no copy of an image of either.
    cells = open_protocol(
        select_parts(published, None, pool=True) if is_pooled else published,
        replace(SPLITS, copies="photograph" if options.find_copies else None),
        options.cache_root,
        skip_unreadable=options.skip_unreadable,
    )
    if is_pooled:
        return cells, {}
    in_other = {image.image_id for image in published.images if image.part == OTHER_TEST}
    kept = tuple(sample for sample in cells.samples if sample.sample_id not in in_other)
    others = [sample for sample in cells.samples if sample.sample_id in in_other]
    return replace(cells, samples=kept), {OTHER_TEST: others}


def _train(options: Options, cells: SampleSet, other_tests: dict[str, list[Sample]]) -> FinishedRun:
    config = replace(
        options.trainer_config(SYNTHETIC_EPOCHS if cells.is_synthetic else EPOCHS),
        schedule="constant",
        optimizer=options.optimizer,
        class_weights=True,
    )
    fingerprints = {
        name: replace(cells, samples=tuple(samples)).fingerprint
        for name, samples in other_tests.items()
    }
    run = train_classifier(
        options,
        Path(EXPERIMENT, f"{options.protocol}-{options.variant}", f"seed-{options.seed}"),
        cells,
        options.describe_model(is_synthetic=cells.is_synthetic),
        config,
        weights=RANDOM if options.model == "gray-cnn" else options.backbone_weights,
        facts={
            "protocol": options.protocol,
            "variant": options.variant,
            "other_test_fingerprints": fingerprints,
        },
        other_tests=other_tests,
    )
    for name in [] if hide_bars() else other_tests:
        print(f"\n{format_further_test(run, name)}\n")
    return run


def _warn_of_random_weights(options: Options) -> None:
    if options.model == "resnet" and options.backbone_weights != RANDOM:
        return
    if options.lr < SCRATCH_LR:
        log.warning(
            "--lr %g is a rate for pretrained weights; random ones will learn little. Try --lr "
            "0.001.",
            options.lr,
        )
    if options.norm == "frozen-batch":
        log.warning(
            "--norm frozen-batch keeps the statistics of pretrained weights; random ones have "
            "none, so nothing will be normalised."
        )


if __name__ == "__main__":
    run_script(main, Options, __doc__)
