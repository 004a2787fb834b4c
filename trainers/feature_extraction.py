"""Writes feature stores: every image goes through each frozen encoder once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.features import FeatureSpec, FeatureStore, write_store
from datasets.images import ImageDataset
from datasets.samples import Sample
from datasets.views import NUM_VIEWS, take_view
from models.frozen import FrozenEncoder, hash_state
from trainers.device import hide_bars, precision_of
from trainers.errors import RunError

log = logging.getLogger(__name__)


def ensure_features(
    fabric: Fabric,
    encoder: FrozenEncoder,
    samples: Sequence[Sample],
    cache_root: Path,
    *,
    all_views: bool = False,
    batch_size: int = 16,
    num_workers: int = 0,
) -> FeatureStore:
    """Return the store of `encoder`'s features of all `samples`, extracting them if need be.

    A store serves every label subset, seed and epoch. Processes that want the same store wait for
    the first one to write it. With `all_views` it holds the features of the eight views of
    `datasets.views`, (8, *feature_shape) a sample.

    Raises:
        DatasetError: An image does not decode, its features are not finite, or the disk has no
            room.
        RunError: The encoder changed meanwhile; nothing was stored.
    """
    spec = FeatureSpec(
        encoder=encoder.name,
        encoder_sha256=hash_state(encoder),
        transform=encoder.transform + (f", {NUM_VIEWS} views" if all_views else ""),
        precision=precision_of(fabric),
        shape=(NUM_VIEWS, *encoder.feature_shape) if all_views else encoder.feature_shape,
    )
    by_content = {sample.content_key: sample for sample in samples}
    unique = [by_content[key] for key in sorted(by_content)]
    key = spec.key(by_content)
    path = cache_root / "features" / f"{encoder.name}-{key[:16]}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            size = spec.num_bytes(len(unique)) / 1e6
            log.info(
                "Extracting %s features of %d images: %.1f MB.", spec.encoder, len(unique), size
            )
            views = range(NUM_VIEWS) if all_views else None
            encoded = _encode(fabric, encoder, unique, views, batch_size, num_workers)
            batches = _require_still(encoded, encoder, spec.encoder_sha256)
            keys = [sample.content_key for sample in unique]
            write_store(path, spec, keys, batches, [sample.sample_id for sample in unique])
    return FeatureStore(path, key)


def _require_still(
    batches: Iterator[NDArray[np.floating]], encoder: FrozenEncoder, sha256: str
) -> Iterator[NDArray[np.floating]]:
    """Yield `batches`; at their end, before the store gets its name, compare the encoder's hash."""
    yield from batches
    if hash_state(encoder) != sha256:
        raise RunError(
            f"The frozen encoder {encoder.name} changed while its features were extracted. They "
            "were not stored."
        )


@torch.no_grad()
def _encode(
    fabric: Fabric,
    encoder: FrozenEncoder,
    samples: Sequence[Sample],
    views: Sequence[int] | None,
    batch_size: int,
    num_workers: int,
) -> Iterator[NDArray[np.floating]]:
    encoder = encoder.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    dataset = ImageDataset(samples, (), encoder.input_size)
    loader = DataLoader(dataset, batch_size, num_workers=num_workers)
    with tqdm(
        total=len(samples), desc=f"{encoder.name} features", unit="image", disable=hide_bars()
    ) as bar:
        for batch in loader:
            images = batch["image"].to(fabric.device).to(memory_format=torch.channels_last) / 255
            with fabric.autocast():
                features = encode_views(encoder, images, views)
            yield features.float().cpu().numpy()
            bar.update(len(images))


def encode_views(encoder: FrozenEncoder, images: Tensor, views: Sequence[int] | None) -> Tensor:
    """Return features of `images`, (B, 3, S, S): (B, *shape), or (B, views, *shape) of `views`."""
    if views is None:
        features: Tensor = encoder(images)
        return features
    seen = [take_view(images, view).contiguous(memory_format=torch.channels_last) for view in views]
    return torch.stack([encoder(view) for view in seen], dim=1)
