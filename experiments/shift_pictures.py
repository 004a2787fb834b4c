"""The figures of shift.py as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image

from datasets.corruptions import CORRUPTIONS, MAX_SEVERITY, CorruptionName
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
    NO_CORRUPTION,
    OWN,
    ShiftResult,
    name_run,
    select_clean,
)
from experiments.reporting.statistics import group_confusions
from experiments.shift_predictions import Grade, apply_grade

PICTURES: Final = ("tests.png", "confusion-*.png", "corruptions.png", "corruption_examples.png")
"""What `draw_shift` may write, as patterns."""


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
    examples = _draw_examples(corrupted[0], [n for n in CORRUPTIONS if n in kinds], seed)
    sheet = draw_corruption_sheet(examples, titles, is_synthetic=is_synthetic)
    _save(out / "corruption_examples.png", sheet)


def _draw_examples(
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


def _save(path: Path, picture: Picture) -> None:
    with write_whole(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
