"""A run's calibration before and after temperature scaling: evaluation, tables, text, record."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from experiments.reporting.calibration import (
    SCORE_NAMES,
    Forecast,
    ReliabilityBin,
    ScoreName,
    Temperature,
    estimate_changes,
    estimate_scores,
    find_bins,
    fit_temperature,
    read_forecast,
)
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.statistics import Estimate
from experiments.reporting.tables import SYNTHETIC_NOTE

_WIDTH: Final = 80
_TITLES: Final[dict[ScoreName, str]] = {
    "expected_calibration_error": "ECE",
    "brier": "Brier",
    "negative_log_likelihood": "NLL (nats)",
}


@dataclass(frozen=True)
class Calibration:
    """A run's calibration on test.

    Attributes:
        run: The run.
        test: Name of the test; None: the main one.
        temperature: Fitted on the run's validation split.
        before: Scores on test as the model gives them.
        after: The same with the temperature.
        changes: Change, low and high of each score, after less before.
        bins_before: Of the reliability diagram.
        bins_after: With the temperature.
        num_shared_groups: Groups that are in validation and test.
    """

    run: FinishedRun
    test: str | None
    temperature: Temperature
    before: dict[ScoreName, Estimate]
    after: dict[ScoreName, Estimate]
    changes: dict[ScoreName, tuple[float, ...]]
    bins_before: list[ReliabilityBin]
    bins_after: list[ReliabilityBin]
    num_shared_groups: int


def calibrate_run(run: FinishedRun, test: str | None = None) -> Calibration:
    """Fit the temperature on validation and return what it does on test.

    Args:
        run: A finished classifier with ``val_predictions.csv``.
        test: Name of a further test; None: the main one.

    Raises:
        ValueError: A file is missing or damaged, or an image is in both splits.
    """
    val, tested = run.val_predictions(), run.predictions(test)
    twice = sorted(set(val["sample_id"]) & set(tested["sample_id"]))
    if twice:
        raise ValueError(
            f"{run.path}: {len(twice)} images are in validation and test, e.g. {twice[0]}. A "
            "temperature must not be fitted on the images that it is tested on."
        )
    temperature = fit_temperature(read_forecast(val, run.classes, f"validation of {run.path}"))
    before = read_forecast(tested, run.classes, f"test of {run.path}")
    after: Forecast = before.scale(temperature.value)
    return Calibration(
        run,
        test,
        temperature,
        estimate_scores(before),
        estimate_scores(after),
        estimate_changes(before, after),
        find_bins(before),
        find_bins(after),
        len(set(val["group"]) & set(tested["group"])),
    )


def build_score_table(found: Calibration) -> pd.DataFrame:
    """Return a row a score: before, after and change, each with its interval over groups."""
    rows = []
    for name in SCORE_NAMES:
        row: dict[str, Any] = {
            "score": name,
            "temperature": found.temperature.value,
            "images": found.before[name].num_images,
            "groups": found.before[name].num_groups,
        }
        for title, scores in (("before", found.before), ("after", found.after)):
            score = scores[name]
            row |= {title: score.value, f"{title}_low": score.low, f"{title}_high": score.high}
        row |= dict(zip(("change", "change_low", "change_high"), found.changes[name], strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def build_bin_table(found: Calibration) -> pd.DataFrame:
    """Return a row a bin, before and after: its ends, images, groups, confidence, accuracy."""
    return pd.DataFrame(
        [
            {
                "scaling": scaling,
                "low": part.low,
                "high": part.high,
                "images": part.accuracy.num_images,
                "groups": part.accuracy.num_groups,
                "confidence": part.confidence,
                "accuracy": part.accuracy.value,
                "accuracy_low": part.accuracy.low,
                "accuracy_high": part.accuracy.high,
            }
            for scaling, bins in (("before", found.bins_before), ("after", found.bins_after))
            for part in bins
        ]
    )


def describe_temperature(found: Calibration) -> dict[str, Any]:
    """Return what the run's temperature file holds."""
    fitted = found.temperature
    return {
        "temperature": fitted.value,
        "is_at_limit": fitted.is_at_limit,
        "fitted_on": "val",
        "val_images": fitted.num_images,
        "val_groups": fitted.num_groups,
        "val_negative_log_likelihood": fitted.nll_before,
        "val_negative_log_likelihood_scaled": fitted.nll_after,
        "experiment": found.run.summary["experiment"],
        "seed": found.run.summary["seed"],
        "classes": found.run.classes,
        "data": found.run.summary["data"]["name"],
        "synthetic": found.run.is_synthetic,
    }


def format_calibration(found: Calibration) -> str:
    """Return the scores before and after as text of at most 80 columns."""
    fitted, some = found.temperature, found.before["brier"]
    test = f" of the test {found.test}" if found.test else ""
    lines = [str(found.run.path)[-_WIDTH:]]
    lines += [SYNTHETIC_NOTE] if found.run.is_synthetic else []
    lines += textwrap.wrap(
        f"temperature {fitted.value:.3f}, fitted on {fitted.num_images} validation images in "
        f"{fitted.num_groups} groups (NLL {fitted.nll_before:.3f} to {fitted.nll_after:.3f}); "
        f"scores on {some.num_images} test images in {some.num_groups} groups{test}",
        _WIDTH,
    )
    lines += _format_warnings(found)
    lines += ["", f"  {'':11}{'before':22}{'after':22}change"]
    for name, title in _TITLES.items():
        change, low, high = found.changes[name]
        lines.append(
            f"  {title:11}{_interval(found.before[name]):22}{_interval(found.after[name]):22}"
            f"{change:+.3f} [{low:+.3f}, {high:+.3f}]".replace(" [+nan, +nan]", "")
        )
    return "\n".join(lines)


def _format_warnings(found: Calibration) -> list[str]:
    notes = []
    if found.temperature.is_at_limit:
        notes.append(
            "The temperature stands at the end of the range: validation is too small, or named "
            "rightly throughout, or so badly that no temperature helps. Do not use it."
        )
    if found.num_shared_groups:
        notes.append(
            f"{found.num_shared_groups} groups are in validation and test: the scores after "
            "scaling are too good."
        )
    return [line for note in notes for line in textwrap.wrap(note, _WIDTH)]


def _interval(found: Estimate) -> str:
    if pd.isna(found.low):
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
