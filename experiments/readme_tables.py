"""Write the result tables from finished runs: CSV under results/, Markdown in the README.

    python experiments/readme_tables.py [RUNS ...] [--tables main_job study_fusion]

Reads every finished classifier run below RUNS (default: runs), averages over seeds, and adds 95 %
intervals over independent groups. Synthetic runs are shown only where there are no real ones.
main_job also gets a chart. A table without runs is left as it is. Nothing is typed by hand.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import tyro

from datasets.files import write_whole
from experiments.cli import run_script
from experiments.reporting.figures import draw_learning_curve
from experiments.reporting.load_runs import find_finished
from experiments.reporting.named_tables import NAMED_TABLES, TableName
from experiments.reporting.tables import replace_between_markers, write_table

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
        path = options.out / f"{name}.csv"
        write_table(table.build(runs), path)
        # The README is written from what the CSV says, so that a test can compare the two.
        written[name] = pd.read_csv(path)
        markdown = table.to_markdown(written[name])
        if options.readme is not None:
            text = replace_between_markers(options.readme.read_text(), name, markdown)
            with write_whole(options.readme) as temporary:
                temporary.write_text(text)
        print(f"{markdown}\n\nWritten to {path}\n")
    if not written:
        raise ValueError(f"No finished classifier run below {searched}. Pass other folders.")
    if "main_job" in written:
        row = written["main_job"].iloc[0]
        title = f"{row['data']}: {row['test_images']} test images, {row['test_groups']} groups"
        figure = draw_learning_curve(written["main_job"], title)
        figure.savefig(options.out / "main_job.png")
    return written


if __name__ == "__main__":
    run_script(main, Options, __doc__)
