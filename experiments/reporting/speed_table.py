"""The README's table of speed, from what benchmark.py wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_COMPARED: Final = ("fused", "base", "autoencoder", "extract", "predict", "data", "tile")
_RATE: Final = "_per_second"


def read_benchmarks(folder: Path) -> list[dict[str, Any]]:
    """Return the content of each JSON file of `folder`, sorted by name.

    Raises:
        ValueError: One is not what benchmark.py writes, or two are of the same benchmark.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or not {"benchmark", "machine"} <= set(content):
            raise ValueError(f"{path} is not what benchmark.py --out writes. Remove it.")
        if content["benchmark"] in [other["benchmark"] for other in found]:
            raise ValueError(f"{path} is a second measurement of {content['benchmark']}.")
        found.append(content)
    return found


def speed_to_markdown(benchmarks: Sequence[Mapping[str, Any]]) -> str:
    """Return the comparisons as a Markdown table, and a line for each other measurement."""
    by_name = {str(content["benchmark"]): content for content in benchmarks}
    compared = [by_name[name] for name in _COMPARED if name in by_name]
    lines = [
        "| work | plain, a second | ours, a second | ratio | of the ceiling, plain | ours "
        "| of the roofline, ours | host memory of ours | ceiling |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_format_comparison, compared),
        "",
    ]
    for name, describe in _OTHERS.items():
        if name in by_name:
            lines.append(f"- `{name}`: {describe(by_name[name])}")
    return "\n".join([*lines, "", *_format_machines(benchmarks)])


def _format_comparison(content: Mapping[str, Any]) -> str:
    ways = content["ways"]
    plain, ours = ways["plain"], ways["ours"]
    unit = next(key.removesuffix(_RATE) for key in ours if key.endswith(_RATE))
    roofline = ours["fraction_of_ceiling"]["roofline"]
    ceilings = dict.fromkeys(way["fraction_of_ceiling"]["ceiling"] for way in (plain, ours))
    cells = [
        content["benchmark"],
        f"{plain[unit + _RATE]:.1f} {unit}",
        f"{ours[unit + _RATE]:.1f} {unit}",
        f"**{content['ratio']:.1f}**",
        *(f"{way['fraction_of_ceiling']['value']:.2f}" for way in (plain, ours)),
        "" if roofline is None else f"{roofline:.2f}",
        f"{ours['peak_memory_mb'] / 1e3:.1f} GB",
        "; ".join(ceilings),
    ]
    return f"| {' | '.join(cells)} |"


def _describe_start(content: Mapping[str, Any]) -> str:
    return (
        f"{content['seconds']:.2f} s from the call of main to the first step over "
        f"{content['images']:,} images; Python's imports before it "
        f"{content['import_seconds']:.1f} s."
    )


def _describe_growth(content: Mapping[str, Any]) -> str:
    parts = []
    for workers, fitted in content["exponents"].items():
        rows = [row for row in content["rows"] if str(row["workers"]) == str(workers)]
        ends = [
            f"{row['images']:,} images {row['seconds']:.1f} s and {row['peak_memory_mb']:.0f} MB"
            for row in (rows[0], rows[-1])
        ]
        parts.append(
            f"with {workers} loading process(es) {', '.join(ends)}; seconds grow as "
            f"images^{fitted['seconds']:.2f}, memory as images^{fitted['peak_memory_mb']:.2f}"
        )
    return f"model `{content['settings']['model']}`: {'. '.join(parts)}."


def _describe_ddp(content: Mapping[str, Any]) -> str:
    rates = content["images_per_second"]
    return (
        f"{rates['1']:.1f} images a second by one process of one thread, {rates['2']:.1f} by two; "
        f"efficiency {content['efficiency']:.2f}."
    )


_OTHERS: Final = {"start": _describe_start, "growth": _describe_growth, "ddp": _describe_ddp}


def _format_machines(benchmarks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each machine that was measured on."""
    machines = dict.fromkeys(
        f"{content['machine']['gpu'] or content['machine']['processor']}, "
        f"{content['machine']['cores']} cores, PyTorch {content['machine']['torch']}"
        for content in benchmarks
    )
    return [f"Measured on: {machine}." for machine in machines]
