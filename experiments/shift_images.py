"""What shift.py tests on: the run's own test images, found again, and sets it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datasets.cells import open_cells
from datasets.counterparts import merge_classes
from datasets.errors import DatasetError
from datasets.manifest import MANIFEST_NAME, read_manifest
from datasets.other_tests import (
    OtherTest,
    find_shared_photographs,
    open_other_test,
)
from datasets.requested_tests import TestRequest
from datasets.samples import Sample, SampleSet
from datasets.synthetic import ensure_synthetic_bundle
from experiments.reporting.load_runs import FinishedRun
from trainers.errors import RunError
from trainers.run import read_seen

MAX_MEAN_DIFFERENCE: Final = 0.01
"""Of probabilities predicted again, on average; bf16 sums in another order give 0.001."""

log = logging.getLogger(__name__)


def open_unseen_test(
    run: FinishedRun,
    request: TestRequest,
    out: Path,
    *,
    source_options: Mapping[str, object],
    find_copies: bool,
    max_images: int | None,
    skip_unreadable: bool,
) -> OtherTest:
    """Return another set as a test of the run; see `open_other_test`.

    Raises:
        DatasetError: The set cannot be used, or the run has seen images of it.
        RunError: The run does not say what it has seen.
        ValueError: Synthetic and real images would share a table.
    """
    other = open_other_test(
        request,
        merge_classes(run.classes).common,
        read_seen(run.path),
        out,
        source_options=source_options,
        find_copies=find_copies,
        max_images=max_images,
        skip_unreadable=skip_unreadable,
    )
    if other.is_synthetic != run.is_synthetic:
        kinds = {True: "synthetic", False: "real"}
        raise ValueError(
            f"--test {other.name}: its images are {kinds[other.is_synthetic]}, those of the run "
            f"{kinds[run.is_synthetic]}. Such results never share a table."
        )
    shared = find_shared_photographs(run.summary["data"]["name"], other.data)
    if shared:
        log.warning(
            "--test %s: %s shows photographs of %s, which the run learnt from, in other files. It "
            "may have seen these cells; experiments/audit_data.py finds out.",
            other.name,
            other.data,
            shared,
        )
    return other


def find_own_samples(run: FinishedRun, data_root: Path | None, cache_root: Path) -> list[Sample]:
    """Return the samples of ``predictions.csv`` in its order, with its groups.

    They are looked for in what lies under `data_root`, in the splits that scripts drew and keep in
    `cache_root`, and for a run on synthetic cells in the built-in set.

    Raises:
        DatasetError: Nowhere are all of them.
    """
    frame = run.predictions()
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
            f"The test images of {run.path} are found neither under --data-root "
            f"{data_root or '(none)'} nor by the splits in --cache-root {cache_root}. Pass both as "
            "the run had them, seen from this folder, or --corrupt none."
        )
    return [
        replace(complete[0][name], group=group)
        for name, group in zip(frame["sample_id"], frame["group"], strict=True)
    ]


def require_same_predictions(
    run: FinishedRun, samples: list[Sample], probs: NDArray[np.float64]
) -> float:
    """Return the mean difference of probabilities (N, K) from those that the run wrote.

    Raises:
        RunError: It is larger than other hardware explains: these are other images.
    """
    frame = run.predictions().set_index("sample_id")
    written = frame.loc[[s.sample_id for s in samples], [f"prob_{n}" for n in run.classes]]
    difference = float(np.abs(written.to_numpy() - probs).mean())
    if difference > MAX_MEAN_DIFFERENCE:
        raise RunError(
            f"The images found for the test of {run.path} do not give the predictions that it "
            f"wrote: probabilities differ by {difference:.3f} on average. They are others than it "
            "was tested on; pass the --data-root and --cache-root that it had, or --corrupt none."
        )
    return difference


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
