"""Predictions for new images: as CSV, as JSON, and as text for a terminal."""

# N images, K classes

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from datasets.files import write_whole

SYNTHETIC_NOTE: Final = "The run learnt from SYNTHETIC images: this says nothing about real cells."
ENDINGS: Final = (".csv", ".json")

_TOP: Final = 3
_PLACES: Final = ("class", "second", "third")
_PROBS: Final = ("probability", "second_probability", "third_probability")
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class PredictionReport:
    """What a run says of images.

    Attributes:
        info: Where it comes from: run, experiment, data, ``synthetic``, precision.
        classes: K names in the order of `probs`.
        paths: Of all images, in the order in which they were asked for.
        probs: (K,) in [0, 1], of each image that could be read, by path.
        unreadable: Why each of the other images could not be read, by path.
        watch_threshold: Images whose class has a smaller probability are marked; None: none.
    """

    info: Mapping[str, Any]
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    probs: Mapping[Path, NDArray[np.float64]]
    unreadable: Mapping[Path, str]
    watch_threshold: float | None = None

    @property
    def readable(self) -> list[Path]:
        """The images with predictions, in order."""
        return [path for path in self.paths if path in self.probs]

    @property
    def to_watch(self) -> list[Path]:
        """The images that a person should look at, in order."""
        return [path for path in self.readable if self.is_watched(path)]

    def is_watched(self, path: Path) -> bool:
        """Return whether an image's class has a probability below the threshold."""
        threshold = self.watch_threshold
        return threshold is not None and float(self.probs[path].max()) < threshold

    def rank(self, path: Path) -> list[tuple[str, float]]:
        """Return the most likely classes, at most three, with their probabilities."""
        probs = self.probs[path]
        best = np.argsort(-probs, kind="stable")[:_TOP]
        return [(self.classes[index], float(probs[index])) for index in best]


def entropy_bits(probs: NDArray[np.float64]) -> float:
    """Return the entropy of probabilities (K,) in bits: 0 if one is sure, log2(K) if all equal."""
    positive = probs[probs > 0]
    return float(max(0.0, -(positive * np.log2(positive)).sum()))


def write_report(path: Path, report: PredictionReport) -> None:
    """Write the report as CSV or JSON by the ending of `path`, whole or not at all.

    The CSV has a row an image in the order of ``paths``: path, class and its probability, second
    and third with theirs, ``entropy_bits``, ``watch`` (with a threshold), ``error`` (why an image
    could not be read; the other columns are then empty) and ``prob_<class>``.
    """
    write = _write_json if path.suffix.lower() == ".json" else _write_csv
    with write_whole(path) as temporary:
        # Names that are no UTF-8 go through as the bytes that they are.
        temporary.write_text(write(report), encoding="utf-8", errors="surrogateescape", newline="")


def _write_csv(report: PredictionReport) -> str:
    places = min(_TOP, len(report.classes))
    ranks = [name for pair in zip(_PLACES, _PROBS, strict=True) for name in pair][: 2 * places]
    has_watch = report.watch_threshold is not None
    watch = ["watch"] if has_watch else []
    columns = [*ranks, "entropy_bits", *watch, "error", *(f"prob_{c}" for c in report.classes)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["path", *columns])
    for path in report.paths:
        name = _keep_from_formula(str(path))
        if path not in report.probs:
            fields = {"error": report.unreadable[path]}
            writer.writerow([name, *(fields.get(column, "") for column in columns)])
            continue
        probs = report.probs[path]
        marks = [str(report.is_watched(path)).lower()] if has_watch else []
        ranked = [value for pair in report.rank(path) for value in pair]
        writer.writerow([name, *ranked, entropy_bits(probs), *marks, "", *probs.tolist()])
    return buffer.getvalue()


def _write_json(report: PredictionReport) -> str:
    content = {
        **report.info,
        "classes": list(report.classes),
        "images": len(report.paths),
        "watch_threshold": report.watch_threshold,
        "to_watch": len(report.to_watch),
        "predictions": [_describe(report, path) for path in report.readable],
        "unreadable": [
            {"path": str(path), "reason": report.unreadable[path]}
            for path in report.paths
            if path in report.unreadable
        ],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _describe(report: PredictionReport, path: Path) -> dict[str, Any]:
    ranked: Sequence[tuple[str, float]] = report.rank(path)
    probs = report.probs[path]
    return {
        "path": str(path),
        "class": ranked[0][0],
        "probability": ranked[0][1],
        "top": [{"class": name, "probability": prob} for name, prob in ranked],
        "entropy_bits": entropy_bits(probs),
        **({} if report.watch_threshold is None else {"watch": report.is_watched(path)}),
        "probabilities": dict(zip(report.classes, probs.tolist(), strict=True)),
    }


def _keep_from_formula(path: str) -> str:
    """Return a path that no spreadsheet takes for a formula; it still leads to the same file."""
    return f"./{path}" if path.startswith(_FORMULA_STARTS) else path
