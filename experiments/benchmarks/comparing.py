"""The sub-commands that set the plain way against ours on the same images."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from experiments.benchmarks import ours, plain
from experiments.benchmarks.ceilings import (
    Ceilings,
    WayName,
    Work,
    count_cost,
    measure_ceilings,
)
from experiments.benchmarks.jobs import Job
from experiments.benchmarks.measuring import Measurement, OpenWay, measure_in_turn
from experiments.benchmarks.options import (
    Autoencoder,
    Base,
    Compared,
    Data,
    Extract,
    Fused,
    ImageOptions,
    Predict,
    WorkOptions,
)
from experiments.benchmarks.pictures import IMAGE_FOLDER, draw_cells, draw_renal_images
from experiments.benchmarks.results import Comparison, Fraction
from models.wbc_cnn import WbcCnn
from trainers.device import resolve_precision

_WAYS: Final = {
    Fused: (plain.open_fused, ours.open_fused),
    Base: (plain.open_base, ours.open_base),
    Autoencoder: (plain.open_autoencoder, ours.open_autoencoder),
    Extract: (plain.open_extract, ours.open_extract),
    Data: (plain.open_data, ours.open_data),
    Predict: (plain.open_predict, ours.open_predict),
}
_WORK: Final[Mapping[type, Work]] = {
    Fused: "fused", Base: "base", Autoencoder: "autoencoder", Extract: "extract",
    Predict: "predict",
}  # fmt: skip
_FLOAT32_BYTES: Final = 4
_LATENT_BYTES: Final = 2 * 128 * 64 * 64


def compare(options: Compared) -> Comparison:
    """Draw the images, measure both ways in turn and the ceilings, and return what was found."""
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        job = make_job(options, options.images, options.num_workers, Path(folder))
        open_plain, open_ours = _WAYS[type(options)]
        ways: dict[str, OpenWay] = {
            "plain": partial(open_plain, job),
            "ours": partial(open_ours, job),
        }
        measured = measure_in_turn(ways, options.rounds)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            ceilings = pool.submit(measure_ceilings, job).result()
    return Comparison(
        type(options).__name__.lower(),
        "images",
        job.num_images,
        measured,
        {name: _fraction(job, options, name, measured, ceilings) for name in ("plain", "ours")},
        asdict(ceilings),
        asdict(options),
        job.device,
    )


def make_job(
    options: WorkOptions, num_images: int, num_workers: int, work_dir: Path, *, pack: bool = True
) -> Job:
    """Return the job of `options`, whose images are drawn, and packed, if need be."""
    if isinstance(options, Autoencoder):
        root = draw_renal_images(options.cache_root, num_images, options.side, options.seed)
        images, data_root = root, root / IMAGE_FOLDER
    else:
        root = draw_cells(options.cache_root, num_images, options.side, options.seed, pack=pack)
        images, data_root = root / IMAGE_FOLDER, root
    return Job(
        images=images,
        data_root=data_root,
        num_images=num_images,
        batch_size=options.batch_size,
        num_workers=num_workers,
        device=options.find_device(),
        precision=options.precision,
        seed=options.seed,
        threads=options.threads,
        work_dir=work_dir,
    )


def _fraction(
    job: Job,
    options: ImageOptions,
    name: WayName,
    measured: Mapping[str, Measurement],
    ceilings: Ceilings,
) -> Fraction:
    rate = job.num_images / measured[name].seconds
    if isinstance(options, Data):
        if name == "plain":
            return Fraction("bare JPEG decode", rate / ceilings.decoded_images)
        image_bytes = 3 * WbcCnn.input_size**2 * (1 + _FLOAT32_BYTES)
        return Fraction(
            "memory copy of pixels, as bytes and floats, and features",
            rate * (image_bytes + _LATENT_BYTES) / ceilings.copied_bytes,
        )
    is_half = name == "ours" and resolve_precision(job.device, job.precision) == "bf16-mixed"
    peak = ceilings.matrix_bfloat16 if is_half else ceilings.matrix_float32
    cost = count_cost(_WORK[type(options)], name, bytes_a_value=2 if is_half else 4)
    # A copy reads and writes each byte.
    floor = cost.operations / peak + cost.traffic / (2 * ceilings.copied_bytes)
    kind = "bf16" if is_half else "32 bit"
    name_of_rate = f"matrix product in {kind}, {peak / 1e9:.0f} GFLOP/s"
    return Fraction(
        f"{name_of_rate}; {cost.operations / 1e9:.1f} GFLOP an image",
        rate * cost.operations / peak,
        rate * floor,
    )
