"""The order of samples: a function of seed and epoch, so that any step can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

Item = int | tuple[int, int]
"""Index of a sample, or with its view."""


class EpochBatches(Sampler[list[Item]]):
    """Batches of indices for one process.

    The order depends on `seed` and `epoch` alone. It is padded from its start to a multiple of the
    processes, so that all take the same number of steps; process r takes every r-th sample.

    Args:
        num_samples: Of the data set.
        batch_size: A step and process. The last batch may be smaller; a single image that would be
            left over in training joins the batch before it, since batch normalization learns
            statistics of a batch, and of one image there are none where a map is 1x1.
        shuffle: Draw a new order each epoch; otherwise the samples' own.
        seed: Of the order.
        labels: Of the samples; for the two ways to meet class imbalance.
        balanced: Draw the classes equally often, with replacement.
        images_per_class: Draw so many of each class an epoch: every sample of it equally often, and
            what is left over at random. It goes before `balanced`.
        num_views: If more than 1, a batch is of pairs (index, view), the view drawn anew each time.
        rank: Of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        labels: Sequence[int] = (),
        balanced: bool = False,
        images_per_class: int | None = None,
        num_views: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_step = 0
        self.labels = torch.as_tensor(labels)
        self.balanced = balanced
        self.images_per_class = images_per_class
        self.num_views = num_views
        self.num_drawn = num_samples
        if shuffle and images_per_class:
            self.num_drawn = images_per_class * len(set(labels))

    def set_position(self, epoch: int, first_step: int) -> None:
        """Let the next iteration be that of `epoch`, without its first `first_step` batches."""
        self.epoch = epoch
        self.first_step = first_step

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        per_process = -(-self.num_drawn // self.world_size)
        number = -(-per_process // self.batch_size)
        is_lone = self.shuffle and self.batch_size > 1 and per_process % self.batch_size == 1
        return max(1, number - 1) if is_lone else number

    def __iter__(self) -> Iterator[list[Item]]:
        order = self._draw_items()
        # All processes have as many; the first samples fill up, again and again if they are few.
        end = -(-len(order) // self.world_size) * self.world_size
        own = [order[place % len(order)] for place in range(self.rank, end, self.world_size)]
        number = len(self)
        for step in range(self.first_step, number):
            end = (step + 1) * self.batch_size if step < number - 1 else len(own)
            yield own[step * self.batch_size : end]

    def _draw_items(self) -> list[Item]:
        if not self.shuffle:
            return list(range(self.num_samples))
        generator = seeded_generator(self.seed, self.epoch)
        order = self._draw_order(generator)
        if self.num_views == 1:
            return [*order]
        views = torch.randint(self.num_views, (len(order),), generator=generator)
        return list(zip(order, views.tolist(), strict=True))

    def _draw_order(self, generator: torch.Generator) -> list[int]:
        if self.images_per_class:
            drawn = self._draw_per_class(self.images_per_class, generator)
        elif self.balanced:
            counts = torch.bincount(self.labels)
            weights = 1 / counts[self.labels]
            drawn = torch.multinomial(
                weights, self.num_samples, replacement=True, generator=generator
            )
        else:
            drawn = torch.randperm(self.num_samples, generator=generator)
        order: list[int] = drawn.tolist()
        return order

    def _draw_per_class(self, number: int, generator: torch.Generator) -> Tensor:
        parts = []
        for label in sorted(set(self.labels.tolist())):
            own = torch.nonzero(self.labels == label).flatten()
            own = own[torch.randperm(len(own), generator=generator)]
            parts.append(own.repeat(-(-number // len(own)))[:number])
        drawn = torch.cat(parts)
        return drawn[torch.randperm(len(drawn), generator=generator)]


def seeded_generator(*parts: int) -> torch.Generator:
    """Return a CPU generator whose stream is a function of `parts`, e.g. seed, epoch, step."""
    seed = 0
    for part in parts:
        seed = (seed * 1_000_003 + part + 1) % (2**63)
    return torch.Generator().manual_seed(seed)
