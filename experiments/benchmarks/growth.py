"""How time and memory grow with the number of images and of loading processes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from experiments.benchmarks import ours
from experiments.benchmarks.comparing import make_job
from experiments.benchmarks.measuring import measure_in_turn
from experiments.benchmarks.options import WorkOptions
from experiments.benchmarks.results import describe_machine

_OPEN: Final = {"small": ours.open_small, "base": ours.open_base, "fused": ours.open_fused}


@dataclass(frozen=True)
class Growth(WorkOptions):
    """Time and memory of an epoch of ours against the number of images and of workers."""

    counts: tuple[int, ...] = (1000, 2000, 4000, 8000)
    """Numbers of images, two or more."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of loading processes."""
    model: Literal["small", "base", "fused"] = "small"
    """small: a CNN at 60x80 on images decoded each epoch; base, fused: at their sizes, packed."""
    rounds: int = 1
    """Epochs, of which the median counts."""
    side: int = 96
    """Of an image in pixels; small, so that drawing does not take longer than measuring."""

    def __post_init__(self) -> None:
        """Refuse numbers from which nothing can be fitted."""
        super().__post_init__()
        if len(set(self.counts)) < 2 or min(self.counts) < 1:
            raise ValueError(f"--counts takes two or more different numbers, not {self.counts}.")
        if not self.workers or min(self.workers) < 0:
            raise ValueError(f"--workers takes numbers from 0 on, not {self.workers}.")


def measure_growth(options: Growth) -> dict[str, Any]:
    """Measure and return seconds and memory, and the exponents of their growth, by workers."""
    rows = []
    for workers in options.workers:
        for count in options.counts:
            with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
                pack = options.model != "small"
                job = make_job(options, count, workers, Path(folder), pack=pack)
                way = {"ours": partial(_OPEN[options.model], job)}
                found = measure_in_turn(way, options.rounds)["ours"]
            rows.append(
                {
                    "workers": workers,
                    "images": count,
                    "seconds": found.seconds,
                    "cpu_seconds": found.cpu_seconds,
                    "peak_memory_mb": found.peak_memory_mb,
                }
            )
    return {
        "benchmark": "growth",
        "rows": rows,
        "exponents": {
            workers: {
                what: fit_exponent(
                    [row["images"] for row in rows if row["workers"] == workers],
                    [row[what] for row in rows if row["workers"] == workers],
                )
                for what in ("seconds", "peak_memory_mb")
            }
            for workers in options.workers
        },
        "settings": asdict(options),
        "machine": describe_machine(options.find_device()),
    }


def format_growth(content: Mapping[str, Any]) -> str:
    """Return a row a measurement and the fitted exponents."""
    lines = [f"{'workers':>8}{'images':>9}{'seconds':>10}{'images/s':>10}{'memory, MB':>12}"]
    lines += [
        f"{row['workers']:>8}{row['images']:>9}{row['seconds']:>10.2f}"
        f"{row['images'] / row['seconds']:>10.1f}{row['peak_memory_mb']:>12.0f}"
        for row in content["rows"]
    ]
    lines += [
        f"{workers} worker(s): seconds grow as images^{fitted['seconds']:.2f}, memory as "
        f"images^{fitted['peak_memory_mb']:.2f}"
        for workers, fitted in content["exponents"].items()
    ]
    return "\n".join(lines)


def fit_exponent(counts: Sequence[float], costs: Sequence[float]) -> float:
    """Return the b of cost = a x count^b, by least squares of the logarithms."""
    return float(np.polyfit(np.log(counts), np.log(costs), 1)[0])
