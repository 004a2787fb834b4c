"""What shift.py tests on besides a run's own test images: sets it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from datasets.counterparts import merge_classes
from datasets.other_tests import (
    OtherTest,
    find_shared_photographs,
    open_other_test,
)
from datasets.requested_tests import TestRequest
from experiments.reporting.load_runs import FinishedRun
from trainers.run import read_seen

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
