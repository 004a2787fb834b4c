"""Data sets that lie on a GPU as a whole, so that no step waits for a disk or a copy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from trainers.data import TrainingData, make_loader
from trainers.sampling import EpochBatches

Batch = dict[str, Any]

_SHARE_OF_FREE_MEMORY: Final = 0.25
"""That one data set may take; the rest is for the model, its activations and other sets."""
_READ_AT_ONCE: Final = 64

log = logging.getLogger(__name__)


class Loading:
    """Opens data sets for a trainer.

    Of those that are read in every epoch, what takes at most a quarter of the free memory of the
    process's GPU is read once and kept there; all others, batches of views, and all on a CPU, are
    read each time.

    Args:
        fabric: Launched.
        num_workers: Processes that read beside this one.
        repeated: What is read in every epoch.
    """

    def __init__(
        self, fabric: Fabric, num_workers: int, repeated: Sequence[TrainingData] = ()
    ) -> None:
        self._fabric = fabric
        self._num_workers = num_workers
        self._repeated = repeated
        self._kept: dict[int, ResidentData] = {}

    def open(
        self, data: TrainingData, batches: EpochBatches
    ) -> DataLoader[Batch] | ResidentBatches:
        """Return what gives `batches` of `data` on the process's device."""
        if batches.num_views > 1:
            return make_loader(self._fabric, data, batches, self._num_workers)
        if id(data) not in self._kept and any(data is one for one in self._repeated):
            self._keep(data)
        if id(data) in self._kept:
            return ResidentBatches(self._kept[id(data)], batches)
        return make_loader(self._fabric, data, batches, self._num_workers)

    def _keep(self, data: TrainingData) -> None:
        room = free_bytes(self._fabric.device) * _SHARE_OF_FREE_MEMORY
        if not room or not len(data):
            return
        needed = count_bytes(data)
        if needed > room:
            return
        log.info("Reading %d samples into the GPU's memory: %.1f MB.", len(data), needed / 1e6)
        try:
            kept = ResidentData(data, self._fabric.device, self._num_workers)
        except torch.OutOfMemoryError:
            log.warning("They do not fit, since others use the GPU too; they are read each time.")
            return
        self._kept[id(data)] = kept


class ResidentData:
    """All items of a data set as tensors on one device.

    Args:
        data: Is read once, in its own order.
        device: Where it will lie.
        num_workers: Processes that read it.
    """

    def __init__(self, data: TrainingData, device: torch.device, num_workers: int = 0) -> None:
        self._device = device
        loader: DataLoader[Batch] = DataLoader(
            data,  # type: ignore[arg-type]
            batch_size=_READ_AT_ONCE,
            num_workers=num_workers,
            generator=torch.Generator(),
        )
        # Laid out first: parts that are joined at the end would for a moment take twice the room.
        self._whole: Batch = _map_tensors(
            default_collate([data[0]]),
            lambda one: torch.empty((len(data), *one.shape[1:]), dtype=one.dtype, device=device),
        )
        start = 0
        for part in loader:
            end = start + len(part["index"])
            for target, source in zip(_tensors(self._whole), _tensors(part), strict=True):
                target[start:end] = source
            start = end

    def take(self, indices: Sequence[int]) -> Batch:
        """Return the items of `indices` as a batch, equal to what a loader gives."""
        rows = torch.tensor(indices, device=self._device)
        return _map_tensors(self._whole, lambda one: one[rows])


class ResidentBatches:
    """Gives the batches of a `ResidentData` in the order of `batches`."""

    def __init__(self, data: ResidentData, batches: EpochBatches) -> None:
        self._data = data
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for items in self._batches:
            yield self._data.take(cast("list[int]", items))


def count_bytes(data: TrainingData) -> int:
    """Return what all of `data` takes as tensors, by its first item."""
    return len(data) * sum(one.nbytes for one in _tensors(default_collate([data[0]])))


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU; 0 for any other device, where nothing is to be kept."""
    if device.type != "cuda":
        return 0
    # PyTorch keeps what it has freed, and the driver calls that taken.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _map_tensors(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    return {
        name: _map_tensors(value, change) if isinstance(value, dict) else change(value)
        for name, value in batch.items()
    }


def _tensors(batch: Batch) -> Iterator[Tensor]:
    for value in batch.values():
        if isinstance(value, dict):
            yield from _tensors(value)
        else:
            yield value
