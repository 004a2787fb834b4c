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
        if _name(content) in map(_name, found):
            raise ValueError(f"{path} is a second measurement of {_name(content)}.")
        found.append(content)
    return found


def speed_to_markdown(benchmarks: Sequence[Mapping[str, Any]]) -> str:
    """Return the comparisons as a Markdown table, and a line for each other measurement."""
    by_name = {_name(content): content for content in benchmarks}
    compared = [by_name[name] for name in _COMPARED if name in by_name]
    lines = [
        "| work | plain, a second | ours, a second | ratio | of the ceiling, plain | ours "
        "| of the roofline, ours | memory of our main process | ceiling |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_format_comparison, compared),
        "",
    ]
    for name, content in by_name.items():
        if content["benchmark"] in _OTHERS:
            lines.append(f"- `{name}`: {_OTHERS[content['benchmark']](content)}")
    return "\n".join([*lines, "", *_format_machines(benchmarks)])


def _name(content: Mapping[str, Any]) -> str:
    """Return what was measured; how cost grows is measured of several models."""
    name = str(content["benchmark"])
    return f"{name}, {content['settings']['model']}" if name == "growth" else name


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
        processes = "1 loading process" if str(workers) == "1" else f"{workers} loading processes"
        parts.append(
            f"{processes}: {', '.join(ends)}; seconds grow as images^{fitted['seconds']:.2f}, "
            f"memory as images^{fitted['peak_memory_mb']:.2f}."
        )
    return " ".join(parts)


def _describe_ddp(content: Mapping[str, Any]) -> str:
    rates = content["images_per_second"]
    return (
        f"{rates['1']:.1f} images a second by one process of one thread, {rates['2']:.1f} by two; "
        f"efficiency {content['efficiency']:.2f}."
    )


_OTHERS: Final = {"start": _describe_start, "growth": _describe_growth, "ddp": _describe_ddp}


def _format_machines(benchmarks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each machine that was measured on: all benchmarks, or which of them."""
    measured: dict[str, list[str]] = {}
    for content in benchmarks:
        machine = content["machine"]
        processor = machine["gpu"] or machine["processor"]
        line = f"{processor}, {machine['cores']} cores, PyTorch {machine['torch']}"
        measured.setdefault(line, []).append(_name(content))
    if len(measured) == 1:
        return [f"Measured on: {machine}." for machine in measured]
    return [f"Measured on {machine}: {'; '.join(names)}.\n" for machine, names in measured.items()]
