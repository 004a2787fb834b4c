"""Write the result tables from finished runs: CSV under results/, Markdown in README and docs/.

    python experiments/readme_tables.py [RUNS ...] [--tables main_job study_fusion] [--replace]

Reads every finished classifier run below RUNS (default: runs), averages over seeds, and adds 95 %
intervals over independent groups. Tables of synthetic runs are made only with --synthetic, where
there are no real ones; pass --out and --documents of your own then, so that they replace no real
ones. main_job also gets a chart. A table without runs is left as it is, and so is one that would
lose rows, or runs behind a row, since not all of its runs are below RUNS (--replace writes it all
the same). The table of speed comes from what benchmark.py wrote to benchmarks/ in the folder of the
CSV files. Nothing is typed by hand.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import tyro

from datasets.files import write_whole
from experiments.cli import run_script
from experiments.reporting.figures import draw_learning_curve
from experiments.reporting.load_runs import FinishedRun, find_finished
from experiments.reporting.named_tables import NAMED_TABLES, TableName
from experiments.reporting.speed_table import read_benchmarks, speed_to_markdown
from experiments.reporting.tables import replace_between_markers, write_table

DOCUMENTS: Final = tuple(
    map(Path, ("README.md", "docs/studies.md", "docs/siblings.md", "docs/speed.md"))
)
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
    replace: bool = False
    """Also write tables of which rows, or runs behind them, are then lost."""
    synthetic: bool = False
    """Also make tables of synthetic runs, where there are no real ones."""
    documents: tuple[Path, ...] = DOCUMENTS
    """Files with markers <!-- results:NAME -->; each table goes where its markers are."""


def main(options: Options) -> dict[str, pd.DataFrame]:
    """Write and print the tables; return those that were written, by name."""
    finished = find_finished(options.runs)
    written: dict[str, pd.DataFrame] = {}
    for name in options.tables:
        table = _write(name, finished, options)
        if table is not None:
            written[name] = table
    benchmarks = read_benchmarks(options.out / BENCHMARKS)
    if benchmarks:
        _put_into(options.documents, SPEED, speed_to_markdown(benchmarks))
    if not written and not benchmarks:
        raise ValueError(
            f"No finished classifier run on real images below {_searched(options)}, or not all "
            "that a table needs. Pass other folders, or --synthetic with --out and --documents of "
            "your own."
        )
    if "main_job" in written:
        row = written["main_job"].iloc[0]
        title = f"{row['data']}: {row['test_images']} test images, {row['test_groups']} groups"
        figure = draw_learning_curve(written["main_job"], title)
        with write_whole(options.out / "main_job.png") as temporary:
            figure.savefig(temporary, format="png")
    return written


def _write(
    name: TableName, finished: Sequence[FinishedRun], options: Options
) -> pd.DataFrame | None:
    """Write a table and return it as its CSV file gives it; None: it is left as it was."""
    table, path = NAMED_TABLES[name], options.out / f"{name}.csv"
    runs = table.select(finished)
    if not runs:
        log.warning("%s: no finished run of %s.", name, table.of)
        return None
    if runs[0].is_synthetic and not options.synthetic:
        log.warning("%s: only synthetic runs, which have no table without --synthetic.", name)
        return None
    built = table.build(runs)
    losses = table.find_losses(pd.read_csv(path), built) if path.is_file() else []
    if losses and not options.replace:
        rows = "\n  ".join(losses)
        log.warning(
            f"{path} stays as it is: below {_searched(options)} there are no runs, or fewer than "
            f"are behind it, of\n  {rows}\nPass --replace to write it from those that are there."
        )
        return None
    write_table(built, path)
    # The documents are written from what the CSV says, so that a test can compare the two.
    found = pd.read_csv(path)
    _put_into(options.documents, name, table.to_markdown(found))
    print(f"Written to {path}\n")
    return found


def _searched(options: Options) -> str:
    return ", ".join(map(str, options.runs))


def _put_into(documents: Sequence[Path], name: str, markdown: str) -> None:
    """Print a table and write it between the markers of its name."""
    if documents:
        document = find_document(documents, name)
        text = replace_between_markers(document.read_text(), name, markdown)
        with write_whole(document) as temporary:
            temporary.write_text(text)
    print(f"{markdown}\n")


def find_document(documents: Sequence[Path], name: str) -> Path:
    """Return the document with the markers of a table; where none has them, the first."""
    marked = [path for path in documents if f"<!-- results:{name} -->" in path.read_text()]
    return [*marked, *documents][0]


if __name__ == "__main__":
    run_script(main, Options, __doc__)
