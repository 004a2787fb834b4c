"""Write the result table from finished runs: CSV and chart under results/, Markdown in the README.

    python experiments/report.py [RUNS ...] [--name main_job]

Reads every finished classifier run below RUNS (default: runs, without runs/synthetic), averages
over seeds, and adds 95 % intervals over independent groups. Nothing is typed by hand.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import tyro

from experiments.cli import run_script
from experiments.reporting.figures import draw_learning_curve
from experiments.reporting.load_runs import find_finished
from experiments.reporting.tables import (
    build_result_table,
    replace_between_markers,
    to_markdown,
    write_table,
)


@dataclass(frozen=True)
class Options:
    """Which runs, and where the tables go."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = (Path("runs"),)
    """Folders that hold finished runs."""
    experiments: tuple[str, ...] = ("base_wbc", "fused_wbc")
    """Experiments that share the table."""
    name: str = "main_job"
    """Name of the CSV file and of the README's markers."""
    out: Path = Path("results")
    """Folder of the CSV files."""
    readme: Path | None = Path("README.md")
    """File with markers <!-- results:NAME --> to fill."""


def main(options: Options) -> pd.DataFrame:
    """Write and print the table; return it."""
    runs = find_finished(options.runs)
    runs = [run for run in runs if run.summary["experiment"] in options.experiments]
    if any(not run.is_synthetic for run in runs):
        runs = [run for run in runs if not run.is_synthetic]
    if not runs:
        searched = ", ".join(map(str, options.runs))
        raise ValueError(f"No finished classifier run below {searched}. Pass other folders.")
    path = options.out / f"{options.name}.csv"
    write_table(build_result_table(runs), path)
    table = pd.read_csv(path)
    row = table.iloc[0]
    title = f"{row['data']}: {row['test_images']} test images, {row['test_groups']} groups"
    draw_learning_curve(table, title).savefig(path.with_suffix(".png"))
    markdown = to_markdown(table)
    if options.readme is not None:
        text = replace_between_markers(options.readme.read_text(), options.name, markdown)
        options.readme.write_text(text)
    print(f"{markdown}\n\nWritten to {path}")
    return table


if __name__ == "__main__":
    run_script(main, Options, __doc__)
