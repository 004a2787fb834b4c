"""Write the result tables from finished runs: CSV under results/, Markdown in the README.

    python experiments/readme_tables.py [RUNS ...] [--tables main_job study_fusion]

Reads every finished classifier run below RUNS (default: runs), averages over seeds, and adds 95 %
intervals over independent groups. Tables of synthetic runs are made only with --synthetic, where
there are no real ones; pass --out and --readme of your own then, so that they replace no real ones.
main_job also gets a chart. A table without runs is left as it is. The table of speed comes from
what benchmark.py wrote to benchmarks/ in the folder of the CSV files. Nothing is typed by hand.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import tyro

from datasets.files import write_whole
from experiments.cli import run_script
from experiments.reporting.figures import draw_learning_curve
from experiments.reporting.load_runs import find_finished
from experiments.reporting.named_tables import NAMED_TABLES, TableName
from experiments.reporting.speed_table import read_benchmarks, speed_to_markdown
from experiments.reporting.tables import replace_between_markers, write_table

BENCHMARKS: Final = "benchmarks"
SPEED: Final = "speed"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Which runs, and where the tables go."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = (Path("runs"),)
    """Folders that hold finished runs."""
    tables: tuple[TableName, ...] = tuple(NAMED_TABLES)
    """Which tables: CSV files and markers of these names."""
    out: Path = Path("results")
    """Folder of the CSV files."""
    synthetic: bool = False
    """Also make tables of synthetic runs, where there are no real ones."""
    readme: Path | None = Path("README.md")
    """File with markers <!-- results:NAME --> to fill."""


def main(options: Options) -> dict[str, pd.DataFrame]:
    """Write and print the tables; return those that have runs, by name."""
    finished = find_finished(options.runs)
    searched = ", ".join(map(str, options.runs))
    written: dict[str, pd.DataFrame] = {}
    for name in options.tables:
        table = NAMED_TABLES[name]
        runs = table.select(finished)
        if not runs:
            log.warning("%s: no finished run of %s.", name, table.of)
            continue
        if runs[0].is_synthetic and not options.synthetic:
            log.warning("%s: only synthetic runs, which have no table without --synthetic.", name)
            continue
        path = options.out / f"{name}.csv"
        write_table(table.build(runs), path)
        # The README is written from what the CSV says, so that a test can compare the two.
        written[name] = pd.read_csv(path)
        _put_into(options.readme, name, table.to_markdown(written[name]))
        print(f"Written to {path}\n")
    benchmarks = read_benchmarks(options.out / BENCHMARKS)
    if benchmarks:
        _put_into(options.readme, SPEED, speed_to_markdown(benchmarks))
    if not written:
        raise ValueError(
            f"No finished classifier run on real images below {searched}. Pass other folders, or "
            "--synthetic with --out and --readme of your own."
        )
    if "main_job" in written:
        row = written["main_job"].iloc[0]
        title = f"{row['data']}: {row['test_images']} test images, {row['test_groups']} groups"
        figure = draw_learning_curve(written["main_job"], title)
        figure.savefig(options.out / "main_job.png")
    return written


def _put_into(readme: Path | None, name: str, markdown: str) -> None:
    """Print a table and write it between the markers of its name."""
    if readme is not None:
        text = replace_between_markers(readme.read_text(), name, markdown)
        with write_whole(readme) as temporary:
            temporary.write_text(text)
    print(f"{markdown}\n")


if __name__ == "__main__":
    run_script(main, Options, __doc__)
