"""Predictions of a finished classifier run for any image files."""

# B batch, N images, K classes, S side in pixels

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal, cast, get_args

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from datasets.errors import UnreadableImageError
from datasets.images import ImageSize, read_image, to_pixels
from datasets.views import take_view
from models.frozen import Encoder, FrozenEncoder
from models.fusion import FusionModel
from models.linear_probe import LinearProbe
from models.registry import input_size_of
from trainers.device import Device, Precision, hide_bars, launch_fabric
from trainers.errors import RunError
from trainers.restore import RestoredClassifier

PredictionPrecision = Literal["run", "32-true", "bf16-mixed"]
"""run: that of the run's training and test."""

NUM_WORKERS: Final = min(16, os.cpu_count() or 1)
"""Threads that decode; Pillow does most of its work without holding Python's lock."""

Pixels = dict[ImageSize, NDArray[np.uint8]]
"""One image, (H, W, 3), at each size that a model looks at."""

Batch = dict[ImageSize, Tensor]
"""The same images, float32 (B, 3, H, W) in [0, 1], at each size that a model looks at."""


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of images.

    Attributes:
        paths: Of the N images that could be read, in the order in which they were given.
        probs: Float64 (N, K), rows sum to 1.
        unreadable: Why each of the other images could not be read, by path.
    """

    paths: tuple[Path, ...]
    probs: NDArray[np.float64]
    unreadable: dict[Path, str]


class Predictor:
    """Applies a finished classifier to image files.

    An image is decoded once and resized to each size that the model and its encoders look at.
    Features of frozen ones are rounded to half precision as a feature store rounds them, so the
    probabilities are those of the run's ``predictions.csv``: equal to 1e-5 in 32 bit, and to 0.02
    in bf16, where the sums depend on the batch's size.

    Args:
        restored: The run's model.
        fabric: Launched, see `launch_prediction`.
        temperature: Logits are divided by it (Guo et al. 2017); then the probabilities are no
            longer those of the run.

    Attributes:
        model: On the device, in evaluation mode.
        classes: In the order of the probabilities.
    """

    def __init__(
        self, restored: RestoredClassifier, fabric: Fabric, temperature: float = 1.0
    ) -> None:
        self._run_dir = restored.run_dir
        self._temperature = temperature
        self._fabric = fabric
        self.model = restored.model.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classes = restored.classes
        self._encoders = (
            {name: cast("Encoder", encoder) for name, encoder in self.model.encoders.items()}
            if isinstance(self.model, FusionModel | LinearProbe)
            else {}
        )
        self._num_views = self.model.num_views if isinstance(self.model, LinearProbe) else 1

    def predict(
        self, paths: Sequence[Path], *, batch_size: int = 32, num_workers: int = NUM_WORKERS
    ) -> Predictions:
        """Return the predictions for the images of `paths`; unreadable ones are passed over.

        Args:
            paths: All different.
            batch_size: B; the memory grows with it.
            num_workers: Threads that decode and resize.

        Raises:
            RunError: The model gives values that are not finite.
        """
        readable: list[Path] = []
        probs = [torch.empty((0, len(self.classes)), dtype=torch.float64)]
        unreadable: dict[Path, str] = {}

        def read_batches() -> Iterator[list[Pixels]]:
            batch = []
            for path, image in self._read_ahead(paths, 2 * batch_size, num_workers):
                if isinstance(image, str):
                    unreadable[path] = image
                    bar.update()
                    continue
                readable.append(path)
                batch.append(image)
                if len(batch) == batch_size:
                    yield batch
                    batch = []
            if batch:
                yield batch

        with tqdm(total=len(paths), desc="predicting", unit="image", disable=hide_bars()) as bar:
            for batch in read_batches():
                logits = self.predict_batch(self.collate(batch)).double() / self._temperature
                probs.append(logits.softmax(dim=1).cpu())
                bar.update(len(batch))
        values = torch.cat(probs).numpy()
        self._require_finite(values, readable)
        return Predictions(tuple(readable), values, unreadable)

    def resize(self, image: Image.Image) -> Pixels:
        """Return `image` at each size that the model looks at."""
        # NumPy, not torch, whose operators would start threads of their own in each thread here.
        sizes = [input_size_of(self.model), *(e.input_size for e in self._encoders.values())]
        return {size: to_pixels(image, size) for size in dict.fromkeys(sizes)}

    def collate(self, images: Sequence[Pixels]) -> Batch:
        """Return `images` as a batch on the device."""
        return {
            size: torch.from_numpy(np.stack([image[size] for image in images]))
            .to(self._fabric.device)
            .permute(0, 3, 1, 2)
            .to(torch.float32, memory_format=torch.channels_last)
            .div_(255)
            for size in images[0]
        }

    @torch.inference_mode()
    def predict_batch(self, images: Batch) -> Tensor:
        """Return logits, float32 (B, K), of a collated batch."""
        with self._fabric.autocast():
            return self.forward(images).float()

    def forward(self, images: Batch) -> Tensor:
        """Return logits (B, K) as the caller's precision and gradient mode will have them."""
        own = images[input_size_of(self.model)]
        if not self._encoders:
            return cast("Tensor", self.model(own))
        features = {
            name: self._look(encoder, images[encoder.input_size])
            for name, encoder in self._encoders.items()
        }
        return cast("Tensor", self.model(own, features))

    def _look(self, encoder: Encoder, images: Tensor) -> Tensor:
        """Return what the model is given of an encoder in the place of stored features."""
        if not isinstance(encoder, FrozenEncoder):
            return images
        views = [
            encoder(take_view(images, view).contiguous(memory_format=torch.channels_last))
            for view in range(self._num_views)
        ]
        features = torch.stack(views, dim=1) if self._num_views > 1 else views[0]
        # As stored features are read: in half precision.
        return features.half()

    def _read_ahead(
        self, paths: Sequence[Path], num_ahead: int, num_workers: int
    ) -> Iterator[tuple[Path, Pixels | str]]:
        """Yield each path in order with its image or the reason why there is none."""
        pool = ThreadPoolExecutor(num_workers)
        try:
            waiting = iter(paths)
            running = deque((p, pool.submit(self._read, p)) for p in islice(waiting, num_ahead))
            while running:
                path, image = running.popleft()
                yield path, image.result()
                running.extend((p, pool.submit(self._read, p)) for p in islice(waiting, 1))
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, path: Path) -> Pixels | str:
        try:
            return self.resize(read_image(path))
        except UnreadableImageError as error:
            cause = error.__cause__
            return "no such file" if isinstance(cause, FileNotFoundError) else str(cause or error)

    def _require_finite(self, probs: NDArray[np.float64], paths: Sequence[Path]) -> None:
        wrong = np.flatnonzero(~np.isfinite(probs).all(axis=1))
        if not len(wrong):
            return
        what = (
            f"The model of {self._run_dir} gives values that are not finite for {len(wrong)} of "
            f"{len(paths)} images, first {str(paths[wrong[0]])!r}."
        )
        broken = [
            name
            for name, value in self.model.state_dict().items()
            if not torch.isfinite(value).all()
        ]
        if broken:
            raise RunError(
                f"{what} Its checkpoint itself holds values that are not finite, first in "
                f"{broken[0]}, which no --precision mends. Train the run again with --overwrite "
                "and a lower --lr, or pass another run."
            )
        raise RunError(f"{what} Pass --precision 32-true, or another run.")


def launch_prediction(
    config: dict[str, object], device: Device, precision: PredictionPrecision
) -> Fabric:
    """Return a launched Fabric of one process.

    Args:
        config: Of the run.
        device: Where to compute.
        precision: Of the arithmetic.

    Raises:
        RunError: torchrun started several processes, or the run's precision is not known.
    """
    known = config.get("precision") if precision == "run" else precision
    if known not in get_args(Precision):
        raise RunError(
            f"The run's config.json names the precision {known!r}, which is none of "
            f"{', '.join(get_args(Precision))}. Pass --precision."
        )
    fabric = launch_fabric(device, cast("Precision", known), seed=0)
    if fabric.world_size > 1:
        raise RunError(
            f"Predictions are made by one process, not by {fabric.world_size}. Start the script "
            "without torchrun."
        )
    return fabric
