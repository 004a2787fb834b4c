"""From probabilities to the results of shift.py, and their files."""

# N images, K classes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from datasets.corruptions import CORRUPTIONS
from datasets.counterparts import MergedClasses, find_common_class
from datasets.other_tests import OtherTest, find_shared_photographs
from datasets.samples import Sample
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.shift_tables import (
    ALL,
    AS_WRITTEN,
    OWN,
    ShiftResult,
    make_frame,
    write_predictions,
)
from experiments.reporting.tables import write_table
from experiments.shift_pictures import PICTURES
from experiments.shift_predictions import Grade
from trainers.metrics import test_metrics
from trainers.run import describe_commit, write_json

PREDICTIONS: Final = "predictions"
SHIFT_JSON: Final = "shift.json"


def require_no_results(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder with results that are not to be replaced.

    Raises:
        ValueError: It holds earlier results and `overwrite` is not set.
    """
    if (out / SHIFT_JSON).is_file() and not overwrite:
        raise ValueError(f"{out} holds earlier results. Pass --overwrite, or another --out.")


def clear_out(out: Path) -> None:
    """Delete earlier results; what else lies in the folder is not ours."""
    # First what says that the others are whole.
    (out / SHIFT_JSON).unlink(missing_ok=True)
    # What is left of other conditions would be taken for some of these.
    for pattern in (f"{PREDICTIONS}/*.csv", *PICTURES):
        for path in out.glob(pattern):
            path.unlink()


def read_own_result(run: FinishedRun) -> ShiftResult:
    """Return the run's own test as it wrote it."""
    return ShiftResult(OWN, AS_WRITTEN, tuple(run.classes), run.predictions())


def make_reference(
    own: ShiftResult, merged: MergedClasses, other: ShiftResult
) -> ShiftResult | None:
    """Return the run's own test with the labels of another one, and its classes only.

    None where the own test has no image of those classes.
    """
    labels = own.frame["label"].map(find_common_class)
    kept = labels.isin(set(other.frame["label"])).to_numpy()
    if not kept.any():
        return None
    frame = own.frame[kept]
    probs = merged.merge(frame[[f"prob_{name}" for name in own.classes]].to_numpy(dtype=float))
    return ShiftResult(
        OWN,
        other.test,
        merged.classes,
        make_frame(
            frame["sample_id"].tolist(),
            frame["group"].tolist(),
            labels[kept].tolist(),
            probs,
            merged.classes,
        ),
    )


def make_results(
    test: str,
    samples: Sequence[Sample],
    classes: Sequence[str],
    probs_of: Mapping[Grade, NDArray[np.float64]],
) -> list[ShiftResult]:
    """Return the results of a test by grade, from probabilities (N, K)."""
    results = []
    for grade, probs in probs_of.items():
        frame = make_frame(
            [sample.sample_id for sample in samples],
            [sample.group for sample in samples],
            [str(sample.label) for sample in samples],
            probs,
            classes,
        )
        if grade.corruption is None:
            results.append(ShiftResult(test, ALL, tuple(classes), frame))
            continue
        corruption = CORRUPTIONS[grade.corruption]
        results.append(
            ShiftResult(
                test,
                ALL,
                tuple(classes),
                frame,
                grade.corruption,
                grade.severity,
                corruption.amounts[grade.severity - 1],
                corruption.unit,
            )
        )
    return results


def describe_result(result: ShiftResult) -> dict[str, Any]:
    """Return the entry of ``shift.json``: the condition, and the metrics of a summary."""
    index = {name: position for position, name in enumerate(result.classes)}
    probs = result.frame[[f"prob_{name}" for name in result.classes]].to_numpy(dtype=float)
    labels = torch.tensor([index[label] for label in result.frame["label"]])
    # Their softmax gives the probabilities back; a merged class may have one of 0.
    logits = torch.from_numpy(np.log(np.maximum(probs, np.finfo(float).tiny)))
    condition = {
        name: value
        for name, value in asdict(result).items()
        if name in ("test", "scope", "corruption", "severity", "amount", "unit")
    }
    return {
        **condition,
        "images": len(result.frame),
        "groups": int(result.frame["group"].nunique()),
        "metrics": test_metrics(logits, labels, result.classes),
    }


def describe_tests(run: FinishedRun, others: Sequence[OtherTest]) -> dict[str, Any]:
    """Return the entries of ``shift.json`` on the run and what it is tested on."""
    data = run.summary["data"]["name"]
    return {
        "run": str(run.path),
        "experiment": run.summary["experiment"],
        "data": data,
        "synthetic": run.is_synthetic,
        "counterparts": {name: find_common_class(name) for name in run.classes},
        "other_tests": {
            other.name: {
                "data": other.data,
                "left_out": dict(other.left_out),
                "shares_photographs_with": find_shared_photographs(data, other.data),
            }
            for other in others
        },
        **describe_commit(),
    }


def write_shift(
    out: Path,
    results: Sequence[ShiftResult],
    table: pd.DataFrame,
    by_class: pd.DataFrame,
    facts: Mapping[str, Any],
) -> None:
    """Write tables, predictions and, last, ``shift.json``.

    Args:
        out: Folder.
        results: All; those of the own test as the run wrote it lie in the run folder already.
        table: Of `build_shift_table`.
        by_class: Of `build_class_rows`.
        facts: Further entries of ``shift.json``.
    """
    for result in results:
        if result.scope == ALL:
            write_predictions(out / PREDICTIONS, result)
    write_table(table, out / "shift.csv")
    write_table(by_class, out / "classes.csv")
    corruptions = {
        name: {"unit": kind.unit, "amounts": list(kind.amounts)}
        for name, kind in CORRUPTIONS.items()
        if any(result.corruption == name for result in results)
    }
    content = {**facts, "corruptions": corruptions, "results": [*map(describe_result, results)]}
    write_json(out / SHIFT_JSON, content)
