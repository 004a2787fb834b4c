"""How well does a model rank each class above the rest, at any threshold?

    python experiments/rank_classes.py RUN ... [--out DIR] [--test NAME]

Prints area under the ROC curve and average precision by class, one class against the rest, and
their mean, with 95 % intervals over groups. Writes areas.csv, roc_by_class.png and
precision_recall.png, curves with bands over groups, into the run folder, or into DIR (several runs:
into a folder each below it). Works from run folders alone. Time: about 5 seconds a run with 400
test images.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from PIL import Image

from datasets.files import write_whole
from experiments.cli import run_script
from experiments.reporting.alignment import short_names
from experiments.reporting.figures_ranking import draw_by_class
from experiments.reporting.load_runs import find_classifiers
from experiments.reporting.ranking_curves import (
    Kind,
    build_area_table,
    find_banded_curves,
    format_areas,
)
from experiments.reporting.run_files import title_of
from experiments.reporting.tables import write_table
from experiments.run_selection import RunSelection

_FILES: dict[Kind, str] = {"roc": "roc_by_class", "precision_recall": "precision_recall"}


@dataclass(frozen=True)
class Options(RunSelection):
    """Which runs, and where the files go."""

    out: Path | None = None
    """Folder of the files. Default: each run's own."""


def main(options: Options) -> list[pd.DataFrame]:
    """Print and write the areas and curves of each run; return the areas in order."""
    runs = find_classifiers(options.runs)
    suffix = f"-{options.test}" if options.test else ""
    tables = []
    for run, name in zip(runs, short_names([run.path for run in runs]), strict=True):
        folder = run.path
        if options.out is not None:
            folder = options.out / name if len(runs) > 1 else options.out
        frame, title = run.predictions(options.test), title_of(run, options.test)
        curves = {kind: find_banded_curves(frame, kind) for kind in _FILES}
        tables.append(build_area_table(curves["roc"], curves["precision_recall"]))
        print(f"{title}\n\n{format_areas(tables[-1])}\n\nWritten to {folder}\n")
        write_table(tables[-1], folder / f"areas{suffix}.csv")
        for kind, file_name in _FILES.items():
            picture = draw_by_class(curves[kind], kind, title, is_synthetic=run.is_synthetic)
            with write_whole(folder / f"{file_name}{suffix}.png") as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")
    return tables


if __name__ == "__main__":
    run_script(main, Options, __doc__)
