"""Pictures of a trainer's state, for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.reporting.figures import (
    draw_captioned_images,
    draw_confusion_matrix,
    draw_image_pairs,
)
from trainers.autoencoder import AutoencoderTrainer
from trainers.classifier import ClassifierTrainer
from trainers.data import TrainingData
from trainers.hooks import Picture
from trainers.outputs import Outputs
from trainers.trainer import Trainer

_NUM_MISREAD = 12
_NUM_RECONSTRUCTIONS = 4


def classifier_pictures() -> dict[str, Picture]:
    """Return the pictures of a classifier's validation split by tag."""
    return {
        "val/confusion_matrix": _draw_val_confusion,
        "val/misread": _draw_val_misread,
    }


def autoencoder_pictures() -> dict[str, Picture]:
    """Return the pictures of an autoencoder's validation split by tag."""
    return {"val/reconstructions": _draw_reconstructions}


def draw_confusion(outputs: Outputs, classes: Sequence[str], title: str) -> NDArray[np.uint8]:
    """Return the confusion matrix of a split's logits."""
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (outputs.labels.numpy(), outputs.values.argmax(dim=1).numpy()), 1)
    return draw_confusion_matrix(confusion, classes, title)


def draw_misread(outputs: Outputs, data: TrainingData, title: str) -> NDArray[np.uint8]:
    """Return the most confidently misread images of a split, with true and predicted class."""
    probs, preds = outputs.values.softmax(dim=1).max(dim=1)
    wrong = torch.nonzero(preds != outputs.labels).flatten()
    worst = wrong[probs[wrong].argsort(descending=True)][:_NUM_MISREAD].tolist()
    images, captions = [], []
    for row in worst:
        index = int(outputs.indices[row])
        images.append(data[index]["image"].permute(1, 2, 0).numpy())
        label, pred = data.classes[int(outputs.labels[row])], data.classes[int(preds[row])]
        captions.append(f"{label}\nread as {pred} ({float(probs[row]):.2f})")
    return draw_captioned_images(images, captions, f"{title}: {len(wrong)} of {len(preds)} misread")


def _draw_val_confusion(trainer: Trainer) -> NDArray[np.uint8]:
    assert isinstance(trainer, ClassifierTrainer)
    assert trainer.val_outputs is not None
    return draw_confusion(
        trainer.val_outputs, trainer.classes, f"validation, epoch {trainer.epoch + 1}"
    )


def _draw_val_misread(trainer: Trainer) -> NDArray[np.uint8]:
    assert trainer.val_outputs is not None
    return draw_misread(trainer.val_outputs, trainer.val_data, "validation")


def _draw_reconstructions(trainer: Trainer) -> NDArray[np.uint8]:
    assert isinstance(trainer, AutoencoderTrainer)
    number = min(_NUM_RECONSTRUCTIONS, len(trainer.val_data))
    images = torch.stack([trainer.val_data[index]["image"] for index in range(number)])
    reconstructions = (trainer.reconstruct(images).cpu() * 255).round().to(torch.uint8)
    return draw_image_pairs(_to_pixels(images), _to_pixels(reconstructions))


def _to_pixels(images: torch.Tensor) -> list[NDArray[np.uint8]]:
    return [image.permute(1, 2, 0).numpy() for image in images]
