"""Test or validation images of a finished run, found again, and the proof that they are those."""

# N images, K classes

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datasets.cells import open_cells
from datasets.errors import DatasetError
from datasets.manifest import MANIFEST_NAME, read_manifest
from datasets.samples import Sample, SampleSet
from datasets.synthetic import ensure_synthetic_bundle
from experiments.reporting.load_runs import FinishedRun
from trainers.errors import RunError

HeldOut = Literal["test", "val"]
"""Splits of which a run keeps the predictions."""

MAX_MEAN_DIFFERENCE: Final = 0.01
"""Of probabilities predicted again, on average; bf16 sums in another order give 0.001."""

log = logging.getLogger(__name__)


def find_own_samples(
    run: FinishedRun,
    data_root: Path | None,
    cache_root: Path,
    split: HeldOut = "test",
    *,
    way_out: str = "",
) -> list[Sample]:
    """Return the samples of the run's predictions in their order, with their groups.

    They are looked for in what lies under `data_root`, in the splits that scripts drew and keep in
    `cache_root`, and for a run on synthetic cells in the built-in set.

    Args:
        run: A classifier of cells.
        data_root: Where the images lie.
        cache_root: Where drawn splits lie.
        split: Whose predictions.
        way_out: What else the user may do if they are not found, e.g. ``, or --corrupt none``.

    Raises:
        DatasetError: Nowhere are all of them.
        ValueError: The run's predictions are missing or damaged.
    """
    frame = _read_predictions(run, split)
    wanted = dict(zip(frame["sample_id"], frame["label"], strict=True))
    complete: list[dict[str, Sample]] = []
    for cells in _open_candidates(run, data_root, cache_root):
        of_name = {sample.sample_id: sample for sample in cells.samples}
        if all(name in of_name and of_name[name].label == label for name, label in wanted.items()):
            complete.append(of_name)
            if cells.fingerprint == run.summary["data"]["fingerprint"]:
                complete = [of_name]
                break
    if not complete:
        raise DatasetError(
            f"The {split} images of {run.path} are found neither under --data-root "
            f"{data_root or '(none)'} nor by the splits in --cache-root {cache_root}. Pass both as "
            f"the run had them, seen from this folder{way_out}."
        )
    return [
        replace(complete[0][name], group=group)
        for name, group in zip(frame["sample_id"], frame["group"], strict=True)
    ]


def require_same_predictions(
    run: FinishedRun,
    samples: list[Sample],
    probs: NDArray[np.float64],
    split: HeldOut = "test",
    *,
    way_out: str = "",
) -> float:
    """Return the mean difference of probabilities (N, K) from those that the run wrote.

    Args:
        run: A classifier of cells.
        samples: N of its samples.
        probs: Predicted of them again, in the order of the run's classes.
        split: That they are of.
        way_out: As for `find_own_samples`.

    Raises:
        RunError: It is larger than other hardware explains: these are other images.
    """
    frame = _read_predictions(run, split).set_index("sample_id")
    written = frame.loc[[s.sample_id for s in samples], [f"prob_{n}" for n in run.classes]]
    difference = float(np.abs(written.to_numpy() - probs).mean())
    if difference > MAX_MEAN_DIFFERENCE:
        raise RunError(
            f"The images found for the {split} split of {run.path} do not give the predictions "
            f"that it wrote: probabilities differ by {difference:.3f} on average. They are others "
            f"than it predicted; pass the --data-root and --cache-root that it had{way_out}."
        )
    return difference


def _read_predictions(run: FinishedRun, split: HeldOut) -> pd.DataFrame:
    return run.predictions() if split == "test" else run.val_predictions()


def _open_candidates(
    run: FinishedRun, data_root: Path | None, cache_root: Path
) -> Iterator[SampleSet]:
    if data_root is not None:
        yield from _open(data_root)
    for manifest in sorted((cache_root / "protocols").glob(f"*/{MANIFEST_NAME}")):
        try:
            yield read_manifest(manifest.parent)
        except DatasetError as error:
            log.debug("Passed over: %s", error)
    if data_root is None and run.is_synthetic:
        yield from _open(ensure_synthetic_bundle(cache_root))


def _open(root: Path) -> Iterator[SampleSet]:
    """Yield the cells under `root`, if they can be opened as a training would open them."""
    try:
        yield open_cells(root, 100, use_masks=False)
    except DatasetError as error:
        log.debug("Passed over: %s", error)
