"""What a benchmark found: as a table of at most 80 columns, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch

from datasets.files import write_whole
from experiments.benchmarks.measuring import Measurement
from trainers.run import describe_commit


@dataclass(frozen=True)
class Fraction:
    """How much of a ceiling a way reaches.

    Attributes:
        ceiling: Name of the rate.
        value: In [0, 1], if the ceiling is one.
        roofline: The share of the measured time that remains if matrix products run at their
            measured rate and all other layers at that of memory, one after the other.
    """

    ceiling: str
    value: float
    roofline: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The plain way and ours, measured in turn.

    Attributes:
        benchmark: Name of the sub-command.
        unit: What is counted, e.g. ``images``.
        count: Of a round.
        measured: The ways by name, ``plain`` and ``ours`` among them.
        fractions: Of a ceiling, by way.
        ceilings: Measured rates by name, in units a second.
        settings: What was asked for.
        device: ``cpu`` or ``cuda``: where both ways computed.
    """

    benchmark: str
    unit: str
    count: int
    measured: Mapping[str, Measurement]
    fractions: Mapping[str, Fraction]
    ceilings: Mapping[str, float]
    settings: Mapping[str, Any]
    device: str = "cpu"

    @property
    def ratio(self) -> float:
        """Plain seconds by ours, end to end."""
        return self.measured["plain"].seconds / self.measured["ours"].seconds

    @property
    def cpu_ratio(self) -> float:
        """The same of CPU seconds, which other work changes less; NaN if ours are not known."""
        ours = self.measured["ours"].cpu_seconds
        return self.measured["plain"].cpu_seconds / ours if ours else nan

    def describe(self) -> dict[str, Any]:
        """Return everything in plain types."""
        return {
            "benchmark": self.benchmark,
            "ratio": self.ratio,
            "cpu_ratio": _known(self.cpu_ratio),
            self.unit: self.count,
            "ways": {
                name: {
                    "seconds": way.seconds,
                    "cpu_seconds": _known(way.cpu_seconds),
                    f"{self.unit}_per_second": self.count / way.seconds,
                    "seconds_by_stage": way.stages,
                    "peak_memory_mb": way.peak_memory_mb,
                    "fraction_of_ceiling": asdict(self.fractions[name]),
                    "rounds": [
                        asdict(one) | {"cpu_seconds": _known(one.cpu_seconds)} for one in way.rounds
                    ],
                }
                for name, way in self.measured.items()
            },
            "ceilings": dict(self.ceilings),
            "settings": dict(self.settings),
            "machine": describe_machine(self.device),
        }

    def format(self) -> str:
        """Return a column a way."""
        ways = list(self.measured.values())
        rounds = len(ways[0].rounds)
        rows: list[tuple[str, Sequence[str]]] = [
            ("seconds", [f"{way.seconds:.2f}" for way in ways]),
            ("CPU seconds", [_format_known(way.cpu_seconds) for way in ways]),
            (f"{self.unit}/s", [f"{self.count / way.seconds:.1f}" for way in ways]),
            ("peak memory, MB", [f"{way.peak_memory_mb:.0f}" for way in ways]),
            ("of the ceiling", [f"{self.fractions[name].value:.2f}" for name in self.measured]),
        ]
        if self.fractions["ours"].roofline is not None:
            shares = [self.fractions[name].roofline or nan for name in self.measured]
            rows.append(("of the roofline", [f"{share:.2f}" for share in shares]))
        used = [stage for stage in ways[0].stages if any(way.stages[stage] > 0 for way in ways)]
        rows += [(f"  {stage}, s", [f"{way.stages[stage]:.2f}" for way in ways]) for stage in used]
        lines = [
            f"{self.benchmark}: {self.count} {self.unit}, median of {rounds} round(s)",
            f"{'':18}" + "".join(f"{name:>14}" for name in self.measured),
            *(f"{name:18}" + "".join(f"{value:>14}" for value in row) for name, row in rows),
            f"ratio: {self.ratio:.2f} by wall time, {_format_known(self.cpu_ratio)} by CPU time",
            *(f"ceiling, {', '.join(self._names_under(c))}: {c}" for c in self._list_ceilings()),
        ]
        return "\n".join(lines)

    def _list_ceilings(self) -> list[str]:
        return list(dict.fromkeys(fraction.ceiling for fraction in self.fractions.values()))

    def _names_under(self, ceiling: str) -> list[str]:
        return [name for name, fraction in self.fractions.items() if fraction.ceiling == ceiling]


def _known(value: float) -> float | None:
    """Return what JSON can say."""
    return None if isnan(value) else value


def _format_known(value: float) -> str:
    return "-" if isnan(value) else f"{value:.2f}"


def write_result(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON, whole or not at all."""
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """Return processor, cores, versions, commit, and the GPU if `device` is ``cuda``."""
    return {
        **describe_commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """Return the processor's name as Linux tells it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
