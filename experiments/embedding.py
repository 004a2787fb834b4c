"""What a classifier has made of images before its linear layers, laid out on maps of two axes."""

# N images, D values, K classes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from datasets.samples import Sample
from experiments.shift_predictions import CLEAN, predict_grades
from models.penultimate import record_penultimate
from trainers.errors import RunError
from trainers.prediction import Predictor

Floats = NDArray[np.float64]

MIN_IMAGES: Final = 5
"""Fewer make no map."""
NUM_COMPONENTS: Final = 50
"""That t-SNE and the projector see; van der Maaten and Hinton (2008), section 4, take 30."""
_PERPLEXITY: Final = 30.0


@dataclass(frozen=True)
class Part:
    """What one part of a model has made of N images.

    Attributes:
        features: (N, D), before its linear layers.
        votes: (N, K), after them.
    """

    features: Floats
    votes: Floats


@dataclass(frozen=True)
class Embedding:
    """Where images lie in the space that a classifier has made.

    Attributes:
        components: Principal components of the joined features, (N, at most 50).
        explained: Share of the variance that each of them has.
        maps: Coordinates (N, 2) by method.
        part_sizes: D of each part that was joined.
        perplexity: Of t-SNE: about how many neighbours an image has.
    """

    components: Floats
    explained: Floats
    maps: dict[str, Floats]
    part_sizes: dict[str, int]
    perplexity: float


def read_features(
    predictor: Predictor, samples: Sequence[Sample], *, batch_size: int, num_workers: int
) -> tuple[dict[str, Part], Floats]:
    """Return what each part of the model has made of images, and class probabilities (N, K).

    Args:
        predictor: Of the run.
        samples: N images.
        batch_size: Images at a time.
        num_workers: Threads that decode and resize.

    Raises:
        ModelError: The model has no part to be shown.
        UnreadableImageError: An image does not decode.
        RunError: The model gives values that are not finite.
    """
    with record_penultimate(predictor.model) as recorded:
        probs = predict_grades(
            predictor,
            samples,
            [CLEAN],
            seed=0,
            batch_size=batch_size,
            num_workers=num_workers,
            title="features",
        )[CLEAN]
    parts = {
        name: Part(
            torch.cat(part.features).double().numpy(), torch.cat(part.votes).double().numpy()
        )
        for name, part in recorded.items()
    }
    wrong = [name for name, part in parts.items() if not np.isfinite(part.features).all()]
    if wrong:
        raise RunError(
            f"The features of {', '.join(wrong)} are not finite. Pass --precision 32-true."
        )
    return parts, probs


def lay_out(parts: Mapping[str, Part], seed: int) -> Embedding:
    """Return PCA and t-SNE of the joined features.

    Each part is centred and scaled to the total variance of its votes, so that it weighs on the map
    as it does in the sum of the votes, whatever the unit and number of its values. With an equal
    weight an encoder that says next to nothing of cells would fill the map with its few outliers.

    Args:
        parts: By name.
        seed: Of t-SNE; PCA has no chance in it.

    Raises:
        RunError: There are too few images, or all have the same features.
    """
    number = len(next(iter(parts.values())).features)
    if number < MIN_IMAGES:
        raise RunError(f"{number} images make no map; at least {MIN_IMAGES} are needed.")
    scaled = []
    for part in parts.values():
        spread = _spread(part.features)
        # Rounding leaves a little where nothing differs.
        if spread > 1e-6 * max(1e-12, float(np.abs(part.features).max())):
            centred = part.features - part.features.mean(axis=0)
            scaled.append(centred * (_spread(part.votes) / spread))
    if not any(values.any() for values in scaled):
        raise RunError(
            "The model has made the same of all images: there is nothing to lay out. Train longer."
        )
    joined = np.concatenate(scaled, axis=1)
    reduced = PCA(min(NUM_COMPONENTS, *joined.shape), svd_solver="full").fit(joined)
    components = reduced.transform(joined)
    perplexity = min(_PERPLEXITY, (number - 1) / 3)
    neighbours = TSNE(
        perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed
    ).fit_transform(components)
    return Embedding(
        components,
        reduced.explained_variance_ratio_,
        {"PCA": components[:, :2], "t-SNE": neighbours.astype(np.float64)},
        {name: part.features.shape[1] for name, part in parts.items()},
        perplexity,
    )


def build_table(embedding: Embedding, samples: Sequence[Sample]) -> pd.DataFrame:
    """Return sample_id, label, method, x and y, a row an image and method; coordinates no unit."""
    identity = {
        "sample_id": [sample.sample_id for sample in samples],
        "label": [sample.label for sample in samples],
    }
    return pd.concat(
        [
            pd.DataFrame({**identity, "method": method, "x": places[:, 0], "y": places[:, 1]})
            for method, places in embedding.maps.items()
        ],
        ignore_index=True,
    )


def _spread(values: Floats) -> float:
    """Return the square root of the total variance of (N, D)."""
    return float(np.sqrt(values.var(axis=0).sum()))
