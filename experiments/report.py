"""What do finished runs show? One page that can be sent to anybody, and its tables as files.

    python experiments/report.py [RUNS ...] [--out report] [--audit DIR ...] [--no-images]

Writes index.html, which works offline and alone: a verdict in numbers, results with 95 % intervals
over groups, learning curve, paired differences, confusion matrices, scores by class, ROC,
calibration, training curves, the most confident errors, data card, environment and the command of
each row; and results, pairs and classes as Markdown, CSV and LaTeX (booktabs). Works from run
folders alone; images of errors are read from the runs' data root where it is there. Real and
synthetic results stand apart. Time: about 20 seconds for 25 runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from experiments.cli import run_script
from experiments.reporting.html.report import write_report


@dataclass(frozen=True)
class Options:
    """Which runs, and where the report goes."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = (Path("runs"),)
    """Run folders, or folders that hold finished runs."""
    out: Path = Path("report")
    """Folder of index.html and of the tables."""
    audit: tuple[Path, ...] = ()
    """Folders in which audit_data.py wrote audit.json: leakage verdicts to show."""
    images: bool = True
    """Whether thumbnails of misread images are put into the page; they may be confidential."""


def main(options: Options) -> Path:
    """Write the report and return the path of its page."""
    page = write_report(options.runs, options.out, options.audit, has_images=options.images)
    print(f"Written to {page} ({page.stat().st_size / 1e6:.1f} MB), tables beside it")
    return page


if __name__ == "__main__":
    run_script(main, Options, __doc__)
