"""Can a model's probabilities be believed, and does temperature scaling mend them?

    python experiments/calibrate.py RUN ... [--out DIR] [--test NAME]

Fits one temperature on a run's validation predictions, never on test, and prints expected
calibration error (15 bins), Brier score (0 to 2) and negative log-likelihood on test before and
after, with 95 % intervals over groups. Writes temperature.json, calibration.csv, reliability.csv
and reliability.png into the run folder, or into DIR (several runs: into a folder each below it).
Works from run folders alone. Time: about 3 seconds a run.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from datasets.files import write_whole
from experiments.cli import run_script
from experiments.reporting.alignment import short_names
from experiments.reporting.calibration_tables import (
    Calibration,
    build_bin_table,
    build_score_table,
    calibrate_run,
    describe_temperature,
    format_calibration,
)
from experiments.reporting.figures_calibration import draw_reliability
from experiments.reporting.load_runs import find_classifiers
from experiments.reporting.run_files import title_of
from experiments.reporting.tables import write_table
from experiments.reporting.temperature_file import TEMPERATURE
from experiments.run_selection import RunSelection


@dataclass(frozen=True)
class Options(RunSelection):
    """Which runs are calibrated, and where the files go."""

    out: Path | None = None
    """Folder of the files. Default: each run's own."""


def main(options: Options) -> list[Calibration]:
    """Print and write the calibration of each run; return them in order."""
    runs = find_classifiers(options.runs)
    results = []
    for run, name in zip(runs, short_names([run.path for run in runs]), strict=True):
        found = calibrate_run(run, options.test)
        folder = run.path
        if options.out is not None:
            folder = options.out / name if len(runs) > 1 else options.out
        print(f"{format_calibration(found)}\n")
        _write(found, folder)
        print(f"Written to {folder}\n")
        results.append(found)
    return results


def _write(found: Calibration, folder: Path) -> None:
    suffix = f"-{found.test}" if found.test else ""
    folder.mkdir(parents=True, exist_ok=True)
    with write_whole(folder / TEMPERATURE) as temporary:
        temporary.write_text(json.dumps(describe_temperature(found), indent=2) + "\n")
    write_table(build_score_table(found), folder / f"calibration{suffix}.csv")
    write_table(build_bin_table(found), folder / f"reliability{suffix}.csv")
    picture = draw_reliability(found, title_of(found.run, found.test))
    with write_whole(folder / f"reliability{suffix}.png") as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


if __name__ == "__main__":
    run_script(main, Options, __doc__)
