"""Predictions for images as they are and under graded corruptions, each image decoded once."""

# N images, K classes

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from datasets.corruptions import MAX_SEVERITY, CorruptionName, corrupt
from datasets.images import read_sample
from datasets.samples import Sample
from trainers.device import hide_bars
from trainers.errors import RunError
from trainers.prediction import Pixels, Predictor


@dataclass(frozen=True)
class Grade:
    """A corruption at one severity, 1 to 5; without corruption, severity 0, the image as it is."""

    corruption: CorruptionName | None = None
    severity: int = 0


CLEAN: Final = Grade()


def list_grades(names: Sequence[CorruptionName]) -> list[Grade]:
    """Return the clean grade and every severity of each corruption."""
    severities = range(1, MAX_SEVERITY + 1)
    return [CLEAN, *(Grade(name, severity) for name in names for severity in severities)]


def predict_grades(
    predictor: Predictor,
    samples: Sequence[Sample],
    grades: Sequence[Grade],
    *,
    seed: int,
    batch_size: int,
    num_workers: int,
    title: str = "predicting",
) -> dict[Grade, NDArray[np.float64]]:
    """Return class probabilities (N, K) of all samples by grade.

    Args:
        predictor: Of the run.
        samples: N images.
        grades: What is done to them, at their own resolution, before they are resized.
        seed: Of the corruptions.
        batch_size: Images at a time.
        num_workers: Threads that decode, corrupt and resize.
        title: Of the progress bar.

    Raises:
        UnreadableImageError: An image does not decode.
        RunError: The model gives values that are not finite.
    """
    found: dict[Grade, list[NDArray[np.float64]]] = {grade: [] for grade in grades}
    total = len(samples) * len(grades)
    with (
        ThreadPoolExecutor(num_workers) as pool,
        tqdm(total=total, desc=title, unit="image", disable=hide_bars()) as bar,
    ):
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            images = list(pool.map(_decode, batch))
            for grade in grades:

                def prepare(
                    sample: Sample, image: NDArray[np.uint8], grade: Grade = grade
                ) -> Pixels:
                    changed = apply_grade(image, grade, seed=seed, image_id=sample.sample_id)
                    return predictor.resize(Image.fromarray(changed))

                pixels = list(pool.map(prepare, batch, images))
                logits = predictor.predict_batch(predictor.collate(pixels))
                found[grade].append(_to_probs(logits, batch))
                bar.update(len(batch))
    return {grade: np.concatenate(parts) for grade, parts in found.items()}


def apply_grade(
    image: NDArray[np.uint8], grade: Grade, *, seed: int, image_id: str
) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) corrupted as the grade says."""
    if grade.corruption is None:
        return image
    return corrupt(image, grade.corruption, grade.severity, seed=seed, image_id=image_id)


def _decode(sample: Sample) -> NDArray[np.uint8]:
    return np.asarray(read_sample(sample))


def _to_probs(logits: torch.Tensor, batch: Sequence[Sample]) -> NDArray[np.float64]:
    probs: NDArray[np.float64] = logits.double().softmax(dim=1).cpu().numpy()
    wrong = np.flatnonzero(~np.isfinite(probs).all(axis=1))
    if len(wrong):
        raise RunError(
            f"The model gives values that are not finite, first for "
            f"{batch[wrong[0]].sample_id!r}. Pass --precision 32-true, or another run."
        )
    return probs
