"""What the trainer needs of a dataset, and how it is loaded."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from datasets.samples import Sample
from trainers.sampling import EpochBatches


class TrainingData(Protocol):
    """A dataset of dicts with ``image`` uint8 (3, H, W), ``label``, ``index``, ``features``.

    Its items are asked for by index or, where the trainer shows views, by (index, view).
    """

    samples: list[Sample]
    labels: list[int]
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> dict[str, Any]: ...


def make_loader(
    fabric: Fabric, data: TrainingData, batches: EpochBatches, num_workers: int
) -> DataLoader[dict[str, Any]]:
    """Return a loader of `batches` that puts them on the process's device.

    The batches are already shared out between processes, so Fabric must not do it again.
    """
    loader: DataLoader[dict[str, Any]] = DataLoader(
        data,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=num_workers,
        pin_memory=fabric.device.type == "cuda",
        # Else each epoch takes a number from the stream that dropout draws from, and a resume in
        # the middle of one takes another.
        generator=torch.Generator(),
    )
    ready = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    return cast("DataLoader[dict[str, Any]]", ready)


def split_batch(batch: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """Return `batch` in parts of `size` samples; the last may be smaller.

    A single sample that is left over joins the part before it, as in `EpochBatches`.
    """
    total = len(batch["index"])
    starts = range(0, total if size == 1 else max(1, total - 1), size)
    ends = [*starts[1:], total]
    return [
        {
            name: {key: part[start:end] for key, part in value.items()}
            if isinstance(value, dict)
            else value[start:end]
            for name, value in batch.items()
        }
        for start, end in zip(starts, ends, strict=True)
    ]
