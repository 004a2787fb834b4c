"""Writes feature stores: every image goes through each frozen encoder once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.feature_writing import write_store
from datasets.features import FeatureSpec, FeatureStore, put_aside
from datasets.images import ImageDataset
from datasets.locks import OwnedLock
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
    the first one to write it, and say for whom. What an earlier process that was killed has written
    is kept; a store that is cut short or damaged is made again, since all that it depends on is at
    hand. With `all_views` it holds the features of the eight views of `datasets.views`,
    (8, *feature_shape) a sample.

    Raises:
        DatasetError: An image does not decode, its features are not finite, or the disk has no
            room.
        OSError: The store cannot be written.
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
    # Without the lock, which a cache that others may only read does not give.
    store = _find_store(path, key)
    if store is not None:
        return store
    path.parent.mkdir(parents=True, exist_ok=True)
    with OwnedLock(path.with_suffix(".lock"), path, waits=True):
        store = _find_store(path, key)  # Another process may have written it meanwhile.
        if store is None:
            keys = [sample.content_key for sample in unique]
            views = range(NUM_VIEWS) if all_views else None
            encode = partial(_encode, fabric, encoder, unique, views, num_workers)
            write_store(path, spec, keys, batch_size, encode, [s.sample_id for s in unique])
            if hash_state(encoder) != spec.encoder_sha256:
                path.unlink()
                raise RunError(
                    f"The frozen encoder {encoder.name} changed while its features were extracted. "
                    "They were not stored."
                )
            store = FeatureStore(path, key)
    return store


def _find_store(path: Path, key: str) -> FeatureStore | None:
    """Return the store if it is there; one that is not whole is put aside to be mended."""
    if not path.is_file():
        return None
    try:
        return FeatureStore(path, key)
    except DatasetError as error:
        log.warning("%s Its features are made again.", error)
        put_aside(path)
        return None


@torch.no_grad()
def _encode(
    fabric: Fabric,
    encoder: FrozenEncoder,
    samples: Sequence[Sample],
    views: Sequence[int] | None,
    num_workers: int,
    batches: Sequence[range],
) -> Iterator[NDArray[np.floating]]:
    encoder = encoder.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    dataset = ImageDataset(samples, (), encoder.input_size)
    rows = [list(batch) for batch in batches]
    loader = DataLoader(dataset, batch_sampler=rows, num_workers=num_workers)
    missing = sum(map(len, batches))
    with tqdm(
        total=len(samples),
        initial=len(samples) - missing,
        desc=f"{encoder.name} features",
        unit="image",
        disable=hide_bars(),
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
