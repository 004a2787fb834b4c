"""Our way: the project's own data sets, trainers, extraction and predictor, as scripts use them.

Its stages are told by a hook, and by timing the functions that the work goes through.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from datasets import images as image_files
from datasets.cells import open_cells
from datasets.features import FeatureStore
from datasets.images import FeatureLookup, ImageDataset
from datasets.packing import ImagePack
from datasets.samples import Sample
from datasets.sources.prcc import read_prcc
from datasets.taxonomy import WBC_CLASSES
from experiments.benchmarks.clock import StageClock
from experiments.benchmarks.jobs import (
    Job,
    build_autoencoder,
    build_base,
    build_networks,
    fused_spec,
)
from experiments.benchmarks.measuring import Round, RunRound
from models.autoencoder import Autoencoder
from models.frozen import FrozenEncoder
from models.registry import SmallCnnSpec, build_model, describe_model, input_size_of
from models.wbc_cnn import WbcCnn
from trainers.autoencoder import AutoencoderTrainer
from trainers.checkpoint import save_checkpoint
from trainers.classifier import ClassifierTrainer
from trainers.config import TrainerConfig
from trainers.data import make_loader
from trainers.device import Fabric, launch_fabric, precision_of
from trainers.feature_extraction import ensure_features
from trainers.hooks import Hook, default_hooks
from trainers.prediction import Predictor, launch_prediction
from trainers.restore import restore_classifier
from trainers.run import BEST_CHECKPOINT, Run
from trainers.sampling import EpochBatches
from trainers.trainer import Trainer

MakeTrainer = Callable[[ImageDataset, Sequence[Hook]], Trainer]


class EpochHook(Hook):
    """Times an epoch from before its first batch to after its last update.

    Attributes:
        round: Of the epoch.
    """

    def __init__(self, clock: StageClock) -> None:
        self.clock = clock
        self.round: Round

    def before_epoch(self, trainer: Trainer) -> None:
        """Begin; what comes before a forward pass is copying, but for what has another stage."""
        self.clock.start("copy")

    def after_backward(self, trainer: Trainer) -> None:
        """Charge what follows to the optimizer."""
        self.clock.switch("optimizer")

    def after_step(self, trainer: Trainer) -> None:
        """Take the time up to this update."""
        self.clock.switch("copy")
        self.round = self.clock.read()


def open_fused(job: Job) -> RunRound:
    """Train the fused classifier on stored features."""
    fabric, clock = _launch(job)
    networks = build_networks(job.seed)
    samples = read_samples(job)
    features = extract(fabric, job, networks.encoders, samples, job.work_dir)
    data = ImageDataset(samples, WBC_CLASSES, WbcCnn.input_size, features)
    return _open_training(job, fabric, clock, networks.fused, data)


def open_base(job: Job) -> RunRound:
    """Train the cell CNN alone."""
    fabric, clock = _launch(job)
    data = ImageDataset(read_samples(job), WBC_CLASSES, WbcCnn.input_size)
    return _open_training(job, fabric, clock, build_base(job.seed), data)


def open_small(job: Job) -> RunRound:
    """Train a small CNN (60x80), whose images are decoded in every epoch."""
    fabric, clock = _launch(job)
    torch.manual_seed(job.seed)
    model = build_model(SmallCnnSpec("baseline"), len(WBC_CLASSES))
    data = ImageDataset(read_samples(job), WBC_CLASSES, input_size_of(model))
    return _open_training(job, fabric, clock, model, data)


def open_autoencoder(job: Job) -> RunRound:
    """Train the autoencoder."""
    fabric, clock = _launch(job)
    samples = read_prcc(job.data_root).samples[: job.num_images]
    data = ImageDataset(samples, (), Autoencoder.input_size)
    return _open_training(job, fabric, clock, build_autoencoder(job.seed), data)


def open_extract(job: Job) -> RunRound:
    """Extract the features of both encoders into a new store."""
    fabric, clock = _launch(job)
    encoders = build_networks(job.seed).encoders
    samples = read_samples(job)
    clock.wrap(FrozenEncoder, "forward", "forward")

    def run_round(num_images: int = job.num_images) -> Round:
        folder = Path(tempfile.mkdtemp(dir=job.work_dir))
        clock.start("copy")
        extract(fabric, job, encoders, samples[:num_images], folder)
        taken = clock.read()
        shutil.rmtree(folder)
        return taken

    run_round(job.batch_size)
    return run_round


def open_predict(job: Job) -> RunRound:
    """Classify image files from the folder of a finished run; images are decoded in threads."""
    job.set_up_process()
    run_dir = write_finished_run(job)
    restored = restore_classifier(run_dir)
    fabric = launch_prediction(restored.config, job.device, "run")
    clock = StageClock(fabric.device)
    clock.wrap(Predictor, "collate", "copy")
    clock.wrap(Predictor, "predict_batch", "forward")
    predictor = Predictor(restored, fabric)
    paths = [sample.path for sample in read_samples(job)]

    def run_round(num_images: int = job.num_images) -> Round:
        # What the main thread does beside its stages is to wait for images.
        clock.start("read")
        predictor.predict(paths[:num_images], batch_size=job.batch_size)
        return clock.read()

    run_round(job.batch_size)
    return run_round


def open_data(job: Job) -> RunRound:
    """Load packed images as floats and stored features, on the device, and drop them."""
    fabric, clock = _launch(job)
    samples = read_samples(job)
    encoders = build_networks(job.seed).encoders
    features = extract(fabric, job, encoders, samples, job.work_dir)
    data = ImageDataset(samples, WBC_CLASSES, WbcCnn.input_size, features)
    batches = EpochBatches(len(data), job.batch_size, shuffle=True, seed=job.seed)
    loader = make_loader(fabric, data, batches, job.num_workers)

    def run_round() -> Round:
        clock.start("copy")
        for batch in loader:
            # As the trainer does it.
            batch["image"].to(torch.float32, memory_format=torch.channels_last) / 255
        return clock.read()

    run_round()
    return run_round


def read_samples(job: Job) -> list[Sample]:
    """Return the job's images in the order in which the plain way finds them."""
    cells = open_cells(job.data_root, 100)
    return sorted(cells.samples, key=lambda sample: sample.path)[: job.num_images]


def extract(
    fabric: Fabric,
    job: Job,
    encoders: Sequence[FrozenEncoder],
    samples: Sequence[Sample],
    cache_root: Path,
) -> dict[str, FeatureLookup]:
    """Return stored features of `samples` by encoder name."""
    return {
        encoder.name: ensure_features(
            fabric,
            encoder,
            samples,
            cache_root,
            batch_size=job.batch_size,
            num_workers=job.num_workers,
        )
        for encoder in encoders
    }


def write_finished_run(job: Job) -> Path:
    """Write the folder of a finished fused run whose weights are random; return it."""
    fabric = launch_fabric(job.device, job.precision, job.seed)
    spec = fused_spec()
    identity = {
        "experiment": "benchmark",
        "classes": list(WBC_CLASSES),
        "model": describe_model(spec),
        "precision": precision_of(fabric),
    }
    run_dir = job.work_dir / "run"
    with Run(fabric, run_dir, identity, {}, resume=False, overwrite=True) as run:
        state = build_networks(job.seed).fused.state_dict()
        save_checkpoint(fabric, run_dir / BEST_CHECKPOINT, {"model": state, "epoch": 1})
        data = {"name": "benchmark", "synthetic": True}
        run.finish({"experiment": "benchmark", "seed": job.seed, "data": data})
    return run_dir


def make_trainer(
    job: Job, fabric: Fabric, model: nn.Module, data: ImageDataset, hooks: Sequence[Hook]
) -> Trainer:
    """Return a trainer of one epoch, validated on one image."""
    config = TrainerConfig(
        epochs=1,
        batch_size=job.batch_size,
        seed=job.seed,
        num_workers=job.num_workers,
        keep_on_gpu=False,  # Or the reading would come before the epoch that is timed.
    )
    kind = AutoencoderTrainer if isinstance(model, Autoencoder) else ClassifierTrainer
    return kind(fabric, model, data, first_images(data, 1), config, hooks)


def first_images(data: ImageDataset, number: int) -> ImageDataset:
    """Return the first images of `data`."""
    return ImageDataset(data.samples[:number], data.classes, data.image_size, data.features)


def _launch(job: Job) -> tuple[Fabric, StageClock]:
    job.set_up_process()
    fabric = launch_fabric(job.device, job.precision, job.seed)
    clock = StageClock(fabric.device)
    for owner, name, stage in (
        (ImagePack, "read", "read"),
        (FeatureStore, "read", "read"),
        (image_files, "read_sample", "decode"),
        (image_files, "to_tensor", "resize"),
        (ClassifierTrainer, "compute_loss", "forward"),
        (AutoencoderTrainer, "compute_loss", "forward"),
        (Fabric, "backward", "backward"),
    ):
        clock.wrap(owner, name, stage)
    return fabric, clock


def _open_training(
    job: Job, fabric: Fabric, clock: StageClock, model: nn.Module, data: ImageDataset
) -> RunRound:
    """Take one step with all hooks of a run; return what trains for an epoch."""

    def run_round(part: ImageDataset = data) -> Round:
        folder = Path(tempfile.mkdtemp(dir=job.work_dir))
        (folder / BEST_CHECKPOINT).parent.mkdir()
        hook = EpochHook(clock)
        # Last: the others' work before an epoch belongs to the start of a run.
        trainer = make_trainer(job, fabric, model, part, [*default_hooks(folder, "train"), hook])
        trainer.fit()
        shutil.rmtree(folder)
        return hook.round

    run_round(first_images(data, job.batch_size))
    return run_round
