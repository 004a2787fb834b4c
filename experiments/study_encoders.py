"""Where the frozen encoders of a study come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from datasets.samples import SampleSet
from experiments import cells_autoencoder, prcc_autoencoder
from experiments.fused_wbc import (
    TissueOptions,
    find_cam16_run,
    find_prcc_run,
    locate_cam16_run,
    locate_prcc_run,
)
from experiments.studies import EncoderName
from experiments.training import options_for
from experiments.transfer import require_unseen
from models.backbones import PRETRAINED, RANDOM, find_cached_weights
from models.encoder_spec import EncoderSpec
from trainers.encoders import (
    ALL_STATISTICS,
    TrainedEncoder,
    depths_from_cam16_run,
    describe_depths,
    encoder_from_autoencoder_run,
    encoder_from_cam16_run,
    library_encoder,
    pooled_from_autoencoder_run,
    untrained_encoder,
)
from trainers.run import SUMMARY, read_finished

_MAP_NODE: Final = "features.4.cat"
_MAP_SIZE: Final = 260
"""At which that map of SqueezeNet is 128x64x64, as the autoencoder's latent is."""
_DEPTH_NODES: Final = ("features.4.cat", "features.7.cat", "features.10.cat", "features.12.cat")
_DEPTH_SIZE: Final = 224
_NEEDING_CAM16: Final[tuple[EncoderName, ...]] = (
    "cam16", "trunk-depths", "trunk-means", "random-cam16", "random-trunk-depths",
)  # fmt: skip
_LATENT_POOLS: Final[Mapping[EncoderName, int]] = {"prcc": 1, "prcc-pool-2": 2, "prcc-pool-4": 4}
IMAGENET_BACKBONE: Final = "squeezenet1_1"
_WEIGHTS_FLAG: Final = "--imagenet-weights"


@dataclass(frozen=True)
class EncoderOptions(TissueOptions):
    """Which runs and weights the encoders are taken from."""

    cells_run: Path | None = None
    """Finished run of cells_autoencoder.py. Default: one of each draw's training cells, in
    ablations/encoders/draw-N below the runs root, trained if need be."""
    imagenet_weights: str = PRETRAINED
    """Of SqueezeNet 1.1, the ImageNet control: pretrained, random, or a file."""


def find_encoder(
    name: EncoderName, options: EncoderOptions, cells: SampleSet, draw: int = 0
) -> TrainedEncoder:
    """Return the encoder `name`; runs that are missing are trained where the data are at hand.

    Args:
        name: Of the encoder.
        options: Whose runs and weights are taken.
        cells: That it is to meet; an encoder that learnt from its test cells is refused.
        draw: Of the splits of `cells`: each has an autoencoder of its own training cells.

    Raises:
        RunError: A run is missing, broken, or has seen the test cells.
        WeightsError: Pretrained weights are not to be had.
    """
    if name in _LATENT_POOLS:
        run_dir = find_prcc_run(options)
        pool = _LATENT_POOLS[name]
        return encoder_from_autoencoder_run(run_dir, prcc_autoencoder.EXPERIMENT, pool)
    if name == "prcc-pooled":
        return pooled_from_autoencoder_run(find_prcc_run(options), prcc_autoencoder.EXPERIMENT)
    if name == "cam16":
        return encoder_from_cam16_run(find_cam16_run(options))
    if name in ("trunk-depths", "trunk-means"):
        statistics = ALL_STATISTICS if name == "trunk-depths" else ALL_STATISTICS[:1]
        return depths_from_cam16_run(find_cam16_run(options), statistics)
    if name.startswith("random"):
        return untrained_encoder(_find_spec(name, options), options.seed)
    if name == "cells":
        run_dir = _find_cells_run(options, draw)
        require_unseen(run_dir, cells, flag="--cells-run", splits=("test",))
        return encoder_from_autoencoder_run(run_dir, cells_autoencoder.EXPERIMENT)
    if name == "imagenet":
        spec = EncoderSpec("map", IMAGENET_BACKBONE, (_MAP_NODE,), _MAP_SIZE)
    else:
        spec = EncoderSpec("pooled", IMAGENET_BACKBONE, _DEPTH_NODES, _DEPTH_SIZE)
    return library_encoder(spec, options.imagenet_weights, _WEIGHTS_FLAG)


def list_missing(
    names: Collection[EncoderName], options: EncoderOptions, draws: Iterable[int]
) -> list[str]:
    """Return what runs and weights the encoders `names` need and do not find, a line each."""
    needed: dict[str, Path] = {}
    lines = []
    for name in names:
        if name in _LATENT_POOLS or name == "prcc-pooled":
            needed["--prcc-run"] = locate_prcc_run(options)
        elif name in _NEEDING_CAM16:
            needed["--cam16-run"] = locate_cam16_run(options)
        elif name == "cells":
            needed |= {f"--cells-run, draw {n}": _locate_cells_run(options, n) for n in draws}
    lines += [
        f"{run_dir} holds no finished run ({flag})"
        for flag, run_dir in needed.items()
        if not (run_dir / SUMMARY).is_file()
    ]
    if not {"imagenet", "depths"}.isdisjoint(names) and options.imagenet_weights != RANDOM:
        is_pretrained = options.imagenet_weights == PRETRAINED
        path = (
            find_cached_weights(IMAGENET_BACKBONE)
            if is_pretrained
            else Path(options.imagenet_weights)
        )
        if not path.is_file():
            lines.append(f"{path}: no such file of weights ({_WEIGHTS_FLAG})")
    return lines


def _find_spec(name: EncoderName, options: EncoderOptions) -> EncoderSpec:
    """Return what builds the trained encoder that a random one stands beside."""
    if name == "random-prcc":
        return EncoderSpec("autoencoder")
    if name == "random-prcc-pooled":
        return EncoderSpec("latents", statistics=ALL_STATISTICS)
    backbone = read_finished(find_cam16_run(options))[0]["backbone"]
    is_head = name == "random-cam16"
    return EncoderSpec("camelyon", backbone) if is_head else describe_depths(backbone)


def _find_cells_run(options: EncoderOptions, draw: int) -> Path:
    run_dir = _locate_cells_run(options, draw)
    if options.cells_run is not None or (run_dir / SUMMARY).is_file():
        return run_dir
    draw_options = replace(options, runs_root=run_dir.parents[1])
    return cells_autoencoder.main(options_for(cells_autoencoder.Options, draw_options, 0))


def _locate_cells_run(options: EncoderOptions, draw: int) -> Path:
    """Return where the run is, or would be."""
    if options.cells_run is not None:
        return options.cells_run
    runs_root = options.find_runs_root() / "ablations" / "encoders" / f"draw-{draw}"
    return runs_root / cells_autoencoder.EXPERIMENT / "seed-0"
