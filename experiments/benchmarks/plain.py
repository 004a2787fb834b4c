"""The plain way: what a straightforward script on torchvision does.

Every epoch reads each JPEG, decodes it and resizes it to each side that a network looks at. All is
in 32 bit and in the default memory layout, and all frozen networks, the autoencoder with its
decoder, run in every step. The C library's allocator keeps its defaults.
"""

# B batch, S side in pixels

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as vision

from experiments.benchmarks.clock import StageClock
from experiments.benchmarks.jobs import (
    Job,
    Networks,
    build_autoencoder,
    build_base,
    build_networks,
)
from experiments.benchmarks.measuring import Round, RunRound
from models.autoencoder import Autoencoder
from models.camelyon_classifier import CamelyonClassifier
from models.losses import ssim_loss
from models.wbc_cnn import WbcCnn

FUSED_SIZES = (Autoencoder.input_size, CamelyonClassifier.input_size, WbcCnn.input_size)
MAX_LR, WEIGHT_DECAY, CLIP = 0.01, 1e-4, 0.1
_MANY_STEPS = 1_000_000

Model = TypeVar("Model", bound=nn.Module)

ComputeLoss = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Takes the images (B, 3, S, S) at each side, in [0, 1], and the labels (B,)."""


class PlainTraining:
    """A training loop.

    Args:
        job: What is measured.
        model: To train; its parameters that require a gradient are trained.
        sizes: Sides that each image is resized to.
        compute_loss: Of a batch.
    """

    def __init__(
        self, job: Job, model: nn.Module, sizes: Sequence[int], compute_loss: ComputeLoss
    ) -> None:
        self.device = torch.device(job.device)
        self.clock = StageClock(self.device)
        self.model = model.to(self.device).train()
        self.compute_loss = compute_loss
        self.loader = make_loader(job, sizes, self.clock, shuffle=True)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = AdamW(trained, lr=MAX_LR, weight_decay=WEIGHT_DECAY)
        self.scheduler = OneCycleLR(self.optimizer, max_lr=MAX_LR, total_steps=_MANY_STEPS)
        self.losses: list[float] = []

    def train_step(self, images: Sequence[Tensor], labels: Tensor) -> None:
        """Update the model once."""
        images, labels = [image.to(self.device) for image in images], labels.to(self.device)
        with self.clock.stage("forward"):
            loss = self.compute_loss(images, labels)
        with self.clock.stage("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with self.clock.stage("optimizer"):
            nn.utils.clip_grad_value_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
        self.losses.append(loss.item())

    def run_epoch(self) -> Round:
        """Train on each image once."""
        self.clock.start("copy")
        for images, labels in self.loader:
            self.train_step(images, labels)
        return self.clock.read()

    def warm_up(self) -> RunRound:
        """Take one step; return what runs an epoch."""
        self.train_step(*next(iter(self.loader)))
        return self.run_epoch


def open_fused(job: Job) -> RunRound:
    """Train the fused classifier; the frozen networks run in every step."""
    job.set_up_process()
    networks = build_plain(job.seed)
    return fused_training(job, networks).warm_up()


def build_plain(seed: int) -> Networks:
    """Return the networks of the fused system."""
    networks = build_networks(seed)
    use_source_order(networks.fused)
    return networks


def use_source_order(model: Model) -> Model:
    """Put every ReLU before the max-pooling that it follows, in place; return the model."""
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            for index in range(len(module) - 1):
                first, second = module[index], module[index + 1]
                if isinstance(first, nn.MaxPool2d) and isinstance(second, nn.ReLU):
                    module[index], module[index + 1] = second, first
    return model


def fused_training(job: Job, networks: Networks) -> PlainTraining:
    """Return the training of the fused classifier."""
    networks.autoencoder.to(torch.device(job.device))
    networks.tumor.to(torch.device(job.device))

    def compute_loss(images: Sequence[Tensor], labels: Tensor) -> Tensor:
        features = run_frozen(networks, images)
        return functional.cross_entropy(networks.fused(images[2], features), labels)

    return PlainTraining(job, networks.fused, FUSED_SIZES, compute_loss)


@torch.no_grad()
def run_frozen(networks: Networks, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the features of both frozen networks, which run as a whole."""
    latents = networks.autoencoder.encoder(images[0])
    networks.autoencoder.decoder(latents)
    networks.tumor.eval()
    five = networks.tumor.encode(images[1])
    networks.tumor.classifier(five)
    return {"prcc": latents, "cam16": five}


def open_base(job: Job) -> RunRound:
    """Train the cell CNN alone."""
    job.set_up_process()
    model = use_source_order(build_base(job.seed))

    def compute_loss(images: Sequence[Tensor], labels: Tensor) -> Tensor:
        return functional.cross_entropy(model(images[0]), labels)

    return PlainTraining(job, model, [WbcCnn.input_size], compute_loss).warm_up()


def open_autoencoder(job: Job) -> RunRound:
    """Train the autoencoder."""
    job.set_up_process()
    model = use_source_order(build_autoencoder(job.seed))

    def compute_loss(images: Sequence[Tensor], labels: Tensor) -> Tensor:
        return ssim_loss(model(images[0]), images[0]).mean()

    return PlainTraining(job, model, [Autoencoder.input_size], compute_loss).warm_up()


def open_extract(job: Job) -> RunRound:
    """Run the frozen networks over all images and save their features in 32 bit."""
    job.set_up_process()
    device = torch.device(job.device)
    clock = StageClock(device)
    networks = build_plain(job.seed)
    networks.autoencoder.to(device)
    networks.tumor.to(device)
    loader = make_loader(job, FUSED_SIZES[:2], clock, shuffle=False)

    def encode(images: Sequence[Tensor]) -> dict[str, Tensor]:
        images = [image.to(device) for image in images]
        with clock.stage("forward"):
            features = run_frozen(networks, images)
        return {name: values.cpu() for name, values in features.items()}

    def run_round() -> Round:
        clock.start("copy")
        parts = [encode(images) for images, _ in loader]
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        path = job.work_dir / "features.pt"
        torch.save(whole, path)
        taken = clock.read()
        path.unlink()
        return taken

    encode(next(iter(loader))[0])
    return run_round


def open_predict(job: Job) -> RunRound:
    """Classify all images with the fused classifier; the frozen networks run beside it."""
    job.set_up_process()
    device = torch.device(job.device)
    clock = StageClock(device)
    networks = build_plain(job.seed)
    networks.autoencoder.to(device)
    networks.tumor.to(device)
    model = networks.fused.to(device).eval()
    loader = make_loader(job, FUSED_SIZES, clock, shuffle=False)

    @torch.no_grad()
    def predict(images: Sequence[Tensor]) -> Tensor:
        images = [image.to(device) for image in images]
        with clock.stage("forward"):
            logits: Tensor = model(images[2], run_frozen(networks, images))
        return logits.softmax(dim=1).cpu()

    def run_round() -> Round:
        clock.start("copy")
        torch.cat([predict(images) for images, _ in loader])
        return clock.read()

    predict(next(iter(loader))[0])
    return run_round


def open_data(job: Job) -> RunRound:
    """Load all images at the three sides, as floats on the device, and drop them."""
    job.set_up_process()
    device = torch.device(job.device)
    clock = StageClock(device)
    loader = make_loader(job, FUSED_SIZES, clock, shuffle=True)

    def run_round() -> Round:
        clock.start("copy")
        for images, _ in loader:
            for image in images:
                image.to(device)
        return clock.read()

    next(iter(loader))
    return run_round


def make_loader(
    job: Job, sizes: Sequence[int], clock: StageClock, *, shuffle: bool
) -> DataLoader[tuple[list[Tensor], Tensor]]:
    """Return a loader of each image at each of `sizes`, and labels."""

    def read_jpeg(path: str) -> Image.Image:
        with clock.stage("read"):
            content = Path(path).read_bytes()
        with clock.stage("decode"):
            return Image.open(io.BytesIO(content)).convert("RGB")

    def resize(image: Image.Image) -> list[Tensor]:
        with clock.stage("resize"):
            return [vision.to_tensor(vision.resize(image, [size, size])) for size in sizes]

    folder = ImageFolder(str(job.images), transform=resize, loader=read_jpeg)
    return DataLoader(
        Subset(folder, range(job.num_images)),
        job.batch_size,
        shuffle=shuffle,
        num_workers=job.num_workers,
        generator=torch.Generator().manual_seed(job.seed),
    )
