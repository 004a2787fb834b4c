"""Classes of a trained model and of another set, brought together in the five common classes."""

# N images, K classes of the run, C classes after merging

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.errors import DatasetError
from datasets.taxonomy import COUNTERPARTS, WBC_CLASSES


@dataclass(frozen=True)
class MergedClasses:
    """What the K classes of a run are among the common ones.

    Attributes:
        classes: C names: the common classes that the run can name, then those of its classes that
            have no counterpart, under their own names.
        positions: Of each of the run's K classes in `classes`.
        common: The common classes that the run can name.
    """

    classes: tuple[str, ...]
    positions: tuple[int, ...]
    common: tuple[str, ...]

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The run's classes without a counterpart; to name one is a mistake on another set."""
        return self.classes[len(self.common) :]

    def merge(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (N, C) of those of the run's classes, (N, K); sums of each kind."""
        merged = np.zeros((len(probs), len(self.classes)))
        for column, position in enumerate(self.positions):
            merged[:, position] += probs[:, column]
        return merged


def find_common_class(label: str) -> str | None:
    """Return the common class of `label`, a class of any of the published sets; None without one.

    A name means the same in all sets that have it.
    """
    known = (
        of_source[label] for of_source in COUNTERPARTS["common"].values() if label in of_source
    )
    return next(known, None)


def merge_classes(run_classes: Sequence[str]) -> MergedClasses:
    """Return what the classes of a run are among the common ones.

    Raises:
        DatasetError: None of them has a counterpart.
    """
    counterparts = [find_common_class(name) for name in run_classes]
    common = tuple(name for name in WBC_CLASSES if name in counterparts)
    if not common:
        raise DatasetError(
            f"None of the run's classes ({', '.join(run_classes)}) has a counterpart among "
            f"{', '.join(WBC_CLASSES)}, so it cannot be tested on another set. Leave out --test."
        )
    own = [
        name for name, found in zip(run_classes, counterparts, strict=True) if found is None
    ]  # fmt: skip
    classes = (*common, *own)
    positions = tuple(
        classes.index(found or name) for name, found in zip(run_classes, counterparts, strict=True)
    )
    return MergedClasses(classes, positions, common)
