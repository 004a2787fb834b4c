"""Features with labels and thumbnails for the tab PROJECTOR of TensorBoard."""

# N images, D features, S side in pixels

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from datasets.images import read_sample
from datasets.samples import Sample

COLUMNS: Final = ("label", "predicted", "correct", "sample_id")

_SIDE: Final = 64
_MAX_SPRITE: Final = 4096
"""Pixels a side of the sheet of all thumbnails. TensorBoard takes 8192, at the cost of four times
the memory while it is written."""


def write_projector(
    folder: Path,
    features: NDArray[np.float64],
    samples: Sequence[Sample],
    preds: Sequence[str],
    name: str,
    *,
    has_images: bool,
    num_workers: int,
) -> None:
    """Write what the projector needs; the folder becomes a TensorBoard run of its own.

    Args:
        folder: An earlier one is replaced as soon as this one is whole.
        features: (N, D).
        samples: N images.
        preds: The class that the model names, of each.
        name: Of the features in TensorBoard.
        has_images: Write thumbnails. They may be confidential.
        num_workers: Threads that decode them.

    Raises:
        UnreadableImageError: An image does not decode.
        OSError: The folder cannot be written to.
    """
    thumbnails = read_thumbnails(samples, num_workers) if has_images else None
    rows = [
        [_plain(text) for text in (str(s.label), pred, _say(s.label == pred), s.sample_id)]
        for s, pred in zip(samples, preds, strict=True)
    ]
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with SummaryWriter(str(temporary)) as writer:
            writer.add_embedding(
                torch.from_numpy(features.astype(np.float32)),
                metadata=rows,
                metadata_header=list(COLUMNS),
                label_img=thumbnails,
                tag=name,
            )
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_thumbnails(samples: Sequence[Sample], num_workers: int) -> torch.Tensor:
    """Return the images, float32 (N, 3, S, S) in [0, 1], so small that all fit onto one sheet."""
    side = min(_SIDE, _MAX_SPRITE // math.ceil(math.sqrt(len(samples))))

    def shrink(sample: Sample) -> NDArray[np.uint8]:
        image = read_sample(sample)
        return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0))

    with ThreadPoolExecutor(num_workers) as pool:
        pixels = np.stack(list(pool.map(shrink, samples)))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)


def _plain(text: str) -> str:
    """Return the text without tabs and line breaks, which separate columns and rows."""
    return " ".join(text.split())


def _say(is_correct: bool) -> str:
    return "yes" if is_correct else "no"
