"""Writes feature stores: every image, or view of one, goes through each frozen encoder once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.feature_writing import write_store
from datasets.features import (
    FeatureSpec,
    FeatureStore,
    ViewStores,
    put_aside,
    unfinished_path,
)
from datasets.images import ImageDataset
from datasets.locks import OwnedLock
from datasets.samples import Sample
from datasets.views import NUM_VIEWS, name_view, take_view
from models.frozen import FrozenEncoder, hash_state
from trainers.device import hide_bars, precision_of
from trainers.errors import RunError

Row = tuple[Sample, int]
"""What a row of a store is of: a sample in a view."""

_CPU_IMAGES: Final = 4
"""In a forward pass: with 16, maps of 512x512 took 0.9 GB more, and no less time."""

log = logging.getLogger(__name__)


def ensure_features(
    fabric: Fabric,
    encoder: FrozenEncoder,
    samples: Sequence[Sample],
    cache_root: Path,
    *,
    turned: Sequence[Sample] = (),
    batch_size: int = 16,
    num_workers: int = 0,
) -> FeatureStore | ViewStores:
    """Return `encoder`'s features of all `samples`, extracting and storing them if need be.

    The store of `samples` serves every label subset, seed and epoch. Processes that want the same
    store wait for the first one to write it, and say for whom. What an earlier process that was
    killed has written is kept; a store that is cut short or damaged is made again, since all that
    it depends on is at hand.

    Args:
        fabric: Launched.
        encoder: Whose features are wanted.
        samples: Wanted as they are.
        cache_root: Folder of the stores.
        turned: Those of `samples` that are also wanted in the seven other views of
            `datasets.views`, in a store of their own.
        batch_size: Images a forward pass.
        num_workers: Processes that decode images.

    Raises:
        DatasetError: An image does not decode, its features are not finite, or the disk has no
            room.
        OSError: The store cannot be written.
        RunError: The encoder changed meanwhile; nothing was stored.
    """

    def ensure(rows: Iterable[Row]) -> FeatureStore:
        return _ensure_store(fabric, encoder, rows, cache_root, batch_size, num_workers)

    upright = ensure((sample, 0) for sample in samples)
    if not turned:
        return upright
    return ViewStores(upright, ensure((s, view) for s in turned for view in range(1, NUM_VIEWS)))


def _ensure_store(
    fabric: Fabric,
    encoder: FrozenEncoder,
    rows: Iterable[Row],
    cache_root: Path,
    batch_size: int,
    num_workers: int,
) -> FeatureStore:
    spec = FeatureSpec(
        encoder=encoder.name,
        encoder_sha256=hash_state(encoder),
        transform=encoder.transform,
        precision=precision_of(fabric),
        shape=encoder.feature_shape,
    )
    by_content = {name_view(sample.content_key, view): (sample, view) for sample, view in rows}
    by_content = dict(sorted(by_content.items()))
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
            encode = partial(_encode, fabric, encoder, list(by_content.values()), num_workers)
            names = [name_view(sample.sample_id, view) for sample, view in by_content.values()]
            try:
                write_store(path, spec, list(by_content), batch_size, encode, names)
            except RunError:
                unfinished_path(path).unlink(missing_ok=True)
                raise
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
    rows: Sequence[Row],
    num_workers: int,
    batches: Sequence[range],
) -> Iterator[NDArray[np.floating]]:
    sha256 = hash_state(encoder)
    encoder = encoder.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = list({sample.content_key: sample for sample, _ in rows}.values())
    index = {sample.content_key: place for place, sample in enumerate(samples)}
    # Views of an image stand in a row, and each batch decodes it once.
    needed = [
        list(dict.fromkeys(index[rows[row][0].content_key] for row in batch)) for batch in batches
    ]
    dataset = ImageDataset(samples, (), encoder.input_size)
    loader = DataLoader(dataset, batch_sampler=needed, num_workers=num_workers)
    missing = sum(map(len, batches))
    with tqdm(
        total=len(rows),
        initial=len(rows) - missing,
        desc=f"{encoder.name} features",
        unit="view" if any(view for _, view in rows) else "image",
        disable=hide_bars(),
    ) as bar:
        for batch, read in zip(batches, loader, strict=True):
            image_of = dict(zip(read["index"].tolist(), read["image"], strict=True))
            seen = [
                take_view(image_of[index[sample.content_key]], view)
                for sample, view in (rows[row] for row in batch)
            ]
            images = torch.stack(seen).to(fabric.device).to(memory_format=torch.channels_last)
            together = _CPU_IMAGES if fabric.device.type == "cpu" else len(images)
            with fabric.autocast():
                features = torch.cat(
                    [encoder(part / 255) for part in torch.split(images, together)]
                )
            yield features.float().cpu().numpy()
            bar.update(len(images))
    # After the last batch, before the store gets its name.
    if hash_state(encoder) != sha256:
        raise RunError(
            f"The frozen encoder {encoder.name} changed while its features were extracted. "
            "They were not stored."
        )
