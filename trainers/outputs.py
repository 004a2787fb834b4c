"""What a model gave for a split, gathered from all processes."""

# N samples, K values a sample

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor

BatchOutputs = tuple[Tensor, Tensor, Tensor]
"""Indices, values and labels of one batch, as in `Outputs`."""
Value = TypeVar("Value")


@dataclass
class Outputs:
    """What the model gave for the samples of a split.

    Attributes:
        indices: int64 (N,), each sample once, ascending.
        values: float32 (N, K): logits, or the loss of each image.
        labels: int64 (N,), -1 without label.
    """

    indices: Tensor
    values: Tensor
    labels: Tensor


def gather_objects(fabric: Fabric, own: Value) -> list[Value]:
    """Return what each process has, by rank; called by all of them."""
    found: list[Value] = [own] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(found, own)
    return found


def gather_outputs(fabric: Fabric, seen: Sequence[BatchOutputs]) -> Outputs:
    """Return the outputs of all processes; samples that padding repeated are kept once."""
    columns = [torch.cat([parts[i].to(fabric.device) for parts in seen]) for i in range(3)]
    if fabric.world_size > 1:
        columns = [column.flatten(0, 1) for column in fabric.all_gather(columns)]
    indices, values, labels = (column.cpu() for column in columns)
    unique, inverse = torch.unique(indices, return_inverse=True)
    first = torch.full((len(unique),), len(indices)).scatter_reduce_(
        0, inverse, torch.arange(len(indices)), reduce="amin"
    )
    return Outputs(unique, values[first], labels[first])
