"""Does this machine have what the code needs, and what is to be done where it has not?

    make doctor
    python experiments/doctor.py --runs-root /big/runs --cache-root /big/cache

Looks at Python, the packages and their bounds, the pair of torch and torchvision, OpenSlide, a
stray package named datasets, memory, threads, GPU and driver, the folders of runs and features, and
the cache of pretrained weights. Exit code 1 if something is to be mended. Takes seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    from experiments.cli import run_script
    from experiments.health.findings import Finding, format_findings
    from experiments.health.folders import check_folder, check_weights
    from experiments.health.machine import (
        check_gpu,
        check_memory,
        check_shared_memory,
        check_threads,
        count_cores,
        find_memory,
        find_threads,
    )
    from experiments.health.packages import (
        check_openslide,
        check_python,
        check_requirements,
        check_stray_datasets,
        check_torch_pair,
    )
except ImportError as error:
    sys.exit(f"Error: {error}. Install the packages: make run, or pip install -r requirements.txt")

BACKBONES = ("resnet18",)
"""Of the experiments' defaults, those that no run of ours gives."""


@dataclass(frozen=True)
class Options:
    """The folders that are looked at."""

    runs_root: Path = Path("runs")
    """Folder of the runs."""
    cache_root: Path = Path("cache")
    """Folder of stored features."""


def main(options: Options) -> Sequence[Finding]:
    """Print the findings and return them."""
    threads = find_threads()
    findings = [
        check_python(),
        check_requirements((ROOT / "requirements.txt").read_text().splitlines()),
        check_torch_pair(),
        check_openslide(),
        check_stray_datasets(ROOT),
        check_memory(find_memory()),
        check_shared_memory(),
        *([check_threads(threads, count_cores(), os.environ)] if threads else []),
        check_gpu(),
        check_folder("--runs-root", options.runs_root),
        check_folder("--cache-root", options.cache_root),
        check_weights(BACKBONES),
    ]
    print(format_findings(findings))
    return findings


def _run(options: Options) -> None:
    if any(finding.status == "fail" for finding in main(options)):
        sys.exit(1)


if __name__ == "__main__":
    run_script(_run, Options, __doc__)
