"""From probabilities to the results of shift.py, and their files."""

# N images, K classes

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from datasets.corruptions import CORRUPTIONS, MAX_SEVERITY, CorruptionName
from datasets.counterparts import MergedClasses, find_common_class
from datasets.files import write_whole
from datasets.images import read_sample
from datasets.samples import Sample
from experiments.reporting.canvas import Picture
from experiments.reporting.figures import draw_confusion_matrix
from experiments.reporting.figures_shift import (
    draw_corruption_curves,
    draw_corruption_sheet,
    draw_test_scores,
)
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.shift_tables import (
    ALL,
    AS_WRITTEN,
    NO_CORRUPTION,
    OWN,
    ShiftResult,
    make_frame,
    name_run,
    select_clean,
    write_predictions,
)
from experiments.reporting.statistics import group_confusions
from experiments.reporting.tables import write_table
from experiments.shift_predictions import Grade, apply_grade
from trainers.metrics import test_metrics
from trainers.run import write_json

PREDICTIONS: Final = "predictions"
SHIFT_JSON: Final = "shift.json"


def clear_out(out: Path, *, overwrite: bool) -> None:
    """Make the folder of the results ready.

    Raises:
        ValueError: It holds earlier results and `overwrite` is not set.
    """
    if (out / SHIFT_JSON).is_file() and not overwrite:
        raise ValueError(f"{out} holds earlier results. Pass --overwrite, or another --out.")
    (out / SHIFT_JSON).unlink(missing_ok=True)
    # What is left of other conditions would be taken for some of these.
    shutil.rmtree(out / PREDICTIONS, ignore_errors=True)
    for picture in out.glob("*.png"):
        picture.unlink()


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


def draw_examples(
    sample: Sample, kinds: Sequence[CorruptionName], seed: int
) -> dict[str, list[Picture]]:
    """Return an image under each corruption by severity, from clean on."""
    image = np.asarray(read_sample(sample))
    grades = {
        name: [Grade(), *(Grade(name, severity) for severity in range(1, MAX_SEVERITY + 1))]
        for name in kinds
    }
    return {
        name: [apply_grade(image, g, seed=seed, image_id=sample.sample_id) for g in of_name]
        for name, of_name in grades.items()
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


def draw_shift(
    out: Path,
    run: FinishedRun,
    results: Sequence[ShiftResult],
    table: pd.DataFrame,
    corrupted: Sequence[Sample],
    seed: int,
) -> None:
    """Write the figures that there is something for.

    Args:
        out: Folder.
        run: The run.
        results: All.
        table: Of `build_shift_table`.
        corrupted: The samples that were corrupted; the first one is shown.
        seed: Of the corruptions.
    """
    title, is_synthetic = name_run(run), run.is_synthetic
    others = [result for result in select_clean(results) if result.test != OWN]
    if others:
        picture = draw_test_scores(table, title, is_synthetic=is_synthetic)
        _save(out / "tests.png", picture)
    for result in others:
        confusion = group_confusions(
            result.frame["label"], result.frame["pred"], result.frame["group"], result.classes
        ).sum(axis=0)
        caption = f"{title}\non {result.test}{', SYNTHETIC' if is_synthetic else ''}"
        _save(
            out / f"confusion-{result.test}.png",
            draw_confusion_matrix(confusion, result.classes, caption),
        )
    kinds = list(dict.fromkeys(r.corruption for r in results if r.corruption != NO_CORRUPTION))
    if not kinds:
        return
    titles: dict[str, str] = {n: kind.title for n, kind in CORRUPTIONS.items() if n in kinds}
    test = next(result.test for result in results if result.corruption != NO_CORRUPTION)
    of_test = f"{title}, corrupted: {'its own test' if test == OWN else test}"
    curves = draw_corruption_curves(table, test, titles, of_test, is_synthetic=is_synthetic)
    _save(out / "corruptions.png", curves)
    examples = draw_examples(corrupted[0], [n for n in CORRUPTIONS if n in kinds], seed)
    sheet = draw_corruption_sheet(examples, titles, is_synthetic=is_synthetic)
    _save(out / "corruption_examples.png", sheet)


def _save(path: Path, picture: Picture) -> None:
    with write_whole(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
