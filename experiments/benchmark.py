"""How much faster is this project than the plain way to do the same, and how near to the machine?

    python experiments/benchmark.py {fused,base,autoencoder,extract,data,predict} [--out FILE]
    python experiments/benchmark.py tile [--slides DIR --mpp 0.5]
    python experiments/benchmark.py {ddp,growth,start}

The plain way is in experiments/benchmarks/plain.py: torchvision's ImageFolder, every image decoded
and resized in every epoch, 32 bit, all frozen networks in every step. Both ways run in turn, each
in a process of its own, on synthetic images that are drawn once; the medians are compared.

Time: one to three minutes each on two idle cores. Compare only figures that one command printed, on
a machine that does nothing else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from experiments.benchmarks.comparing import compare
from experiments.benchmarks.distributed import Ddp, format_ddp, measure_ddp
from experiments.benchmarks.growth import Growth, format_growth, measure_growth
from experiments.benchmarks.options import Autoencoder, Base, Data, Extract, Fused, Predict
from experiments.benchmarks.results import write_result
from experiments.benchmarks.starting import Start, format_start, measure_start
from experiments.benchmarks.tiling import Tile, compare_tiling
from experiments.cli import run_script

Benchmark = Fused | Base | Autoencoder | Extract | Data | Tile | Predict | Ddp | Growth | Start


@dataclass(frozen=True)
class Options:
    """What is measured."""

    benchmark: tyro.conf.OmitSubcommandPrefixes[Benchmark]
    """The work."""


def main(options: Options) -> dict[str, Any]:
    """Measure, print and return what was found."""
    chosen = options.benchmark
    content, text = _measure(chosen)
    print(text)
    if chosen.out is not None:
        write_result(chosen.out, content)
        print(f"Written to {chosen.out}")
    return content


def _measure(chosen: Benchmark) -> tuple[dict[str, Any], str]:
    """Return what was found, and the table of it."""
    if isinstance(chosen, Ddp):
        content = measure_ddp(chosen)
        return content, format_ddp(content)
    if isinstance(chosen, Growth):
        content = measure_growth(chosen)
        return content, format_growth(content)
    if isinstance(chosen, Start):
        content = measure_start(chosen)
        return content, format_start(content)
    found = compare_tiling(chosen) if isinstance(chosen, Tile) else compare(chosen)
    return found.describe(), found.format()


if __name__ == "__main__":
    run_script(main, Options, __doc__)
