"""Predictions for new images as text of at most 80 columns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np

from experiments.reporting.predictions import SYNTHETIC_NOTE, PredictionReport, entropy_bits

_WIDTH: Final = 80
_MAX_ROWS: Final = 20
_MAX_NAMED: Final = 5
_LABEL_WIDTH: Final = 11


def format_report(report: PredictionReport) -> str:
    """Return a row an image where they are few, else the number of images by class."""
    total, broken = len(report.paths), len(report.unreadable)
    reader = report.info["experiment"]
    if "variant" in report.info:
        reader = f"{report.info['variant']} ({reader})"
    title = f"{total:,} image{'s' if total > 1 else ''}, read by {reader}"
    lines = [_fit(f"{title}, which learnt from {report.info['data']}", _WIDTH)]
    if report.info["synthetic"]:
        lines.append(SYNTHETIC_NOTE)
    is_short = total <= _MAX_ROWS
    lines += ["", *(_format_rows(report, report.readable) if is_short else _format_counts(report))]
    if report.watch_threshold is not None:
        watched = report.to_watch
        lines += [
            "",
            f"To be looked at by a person (probability below {report.watch_threshold:g}): "
            f"{len(watched):,} of {len(report.readable):,}",
        ]
    if broken:
        lines += ["", f"Not readable, passed over: {broken:,}"]
        for path, reason in list(report.unreadable.items())[:_MAX_NAMED]:
            lines += [f"  {_fit_end(show(str(path)), 78)}", f"    {_fit(show(reason), 76)}"]
        if broken > _MAX_NAMED:
            lines.append("  ... (pass --out for all)")
    return "\n".join(lines)


def show(text: str) -> str:
    """Return text without characters that would move a terminal's cursor or break a line."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def _format_rows(report: PredictionReport, paths: list[Path]) -> list[str]:
    places = min(3, len(report.classes))
    label = min(_LABEL_WIDTH, max(5, *(len(show(name)) for name in report.classes)))
    heads = ("class", "second", "third")[:places]
    tail = len(heads) * (label + 6) + 7 + (2 if report.watch_threshold is not None else 0)
    longest = max((len(show(str(path))) for path in paths), default=0)
    name = min(max(longest, 5), _WIDTH - tail)
    head = f"{'image':{name}}" + "".join(f" {text:{label}} prob" for text in heads) + f"{'bits':>7}"
    rows = []
    for path in paths:
        cells = "".join(f" {_fit(show(c), label):{label}} {p:4.2f}" for c, p in report.rank(path))
        mark = " *" if report.is_watched(path) else ""
        image = f"{_fit_end(show(str(path)), name):{name}}"
        rows.append(f"{image}{cells} {entropy_bits(report.probs[path]):6.2f}{mark}")
    legend = "entropy in bits: 0 sure, " + f"{np.log2(len(report.classes)):.2f} all classes equal"
    marked = "; * to be looked at" if report.watch_threshold is not None else ""
    return [head.rstrip(), *rows, "", legend + marked]


def _format_counts(report: PredictionReport) -> list[str]:
    paths = report.readable
    best = {path: report.rank(path)[0] for path in paths}
    counts = Counter(name for name, _ in best.values())
    watched = Counter(best[path][0] for path in report.to_watch)
    has_watch = report.watch_threshold is not None
    head = f"{'class':24}{'images':>9}{'share':>8}{'mean prob':>11}"
    lines = [head + (f"{'to watch':>10}" if has_watch else "")]
    for name in report.classes:
        probs = [prob for found, prob in best.values() if found == name]
        mean = f"{np.mean(probs):11.3f}" if probs else f"{'-':>11}"
        row = f"{_fit(show(name), 23):24}{counts[name]:9,}{counts[name] / len(paths):8.1%}{mean}"
        lines.append(row + (f"{watched[name]:10,}" if has_watch else ""))
    unsure = sorted(paths, key=lambda path: best[path][1])[:_MAX_NAMED]
    return [*lines, "", "Least sure:", *_format_rows(report, unsure)]


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _fit_end(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"
