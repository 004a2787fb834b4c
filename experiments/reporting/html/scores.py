"""The report's tables as numbers: results, paired differences, scores by class."""

# S seeds, G groups, K classes, B draws

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd

from experiments.reporting.class_tables import tabulate_classes
from experiments.reporting.comparison import (
    NUM_PAIRED_RESAMPLES,
    DrawnScore,
    adjust_holm,
    estimate_difference,
    find_p_values,
)
from experiments.reporting.html.entries import Entry, TestSet
from experiments.reporting.identity import rebuild_command
from experiments.reporting.prediction_tables import show
from experiments.reporting.ranking import auroc_scorer
from experiments.reporting.statistics import (
    METRICS,
    Estimate,
    Floats,
    bootstrap_groups,
    estimate,
    find_interval,
    find_present,
    restrict_predictions,
    score_draws,
)

MAIN_METRIC: Final = "balanced_accuracy"
"""By which models are ranked: classes count alike, however rare."""

ALL_CLASSES: Final = "all classes"
"""Scope of a row in which a model may name every class."""

_FROM_SUMMARY: Final = ("loss", "expected_calibration_error", "brier")
_LEAST_SEEDS: Final = 2


def build_results(test_set: TestSet) -> pd.DataFrame:
    """Return a row an entry, and one more where it is restricted to the classes in the test.

    Columns: number, model, data, scope (``all classes`` or ``restricted to ...``), label_percent,
    epochs, seeds (how many), seed_values, train_images, test_images, test_groups; accuracy,
    balanced_accuracy and macro_f1, each as mean over seeds, with ``_sd`` over seeds (empty for
    one), ``_low`` and ``_high`` (95 % interval of the mean over groups) and ``_by_seed``;
    macro_auroc with its interval; means of loss, expected_calibration_error and brier; command.
    """
    rows = []
    for entry in test_set.entries:
        summary = entry.first.summary
        train = summary["splits"].get("train", {}).get("images", {})
        shared = {
            "number": entry.number,
            "model": entry.name,
            "data": test_set.title,
            "scope": ALL_CLASSES,
            "label_percent": entry.label_percent,
            "epochs": summary["epochs"],
            "seeds": len(entry.runs),
            "seed_values": " ".join(map(str, entry.seeds)),
            "train_images": sum(train.values()),
            "test_images": test_set.num_images,
            "test_groups": test_set.num_groups,
        }
        auroc = estimate_mean_auroc(entry)
        rows.append(
            shared
            | _score(entry, test_set.classes)
            | {"macro_auroc": auroc.value, "macro_auroc_low": auroc.low}
            | {"macro_auroc_high": auroc.high}
            | {name: find_mean(entry, name) for name in _FROM_SUMMARY}
            | {"command": command_of(entry)}
        )
        present = find_present(entry.frames[0]["label"].tolist(), test_set.classes)
        if len(present) < len(test_set.classes):
            frames = tuple(restrict_predictions(frame, present) for frame in entry.frames)
            restricted = Entry(entry.number, entry.name, entry.test, entry.runs, frames)
            scope = {"scope": f"restricted to {show(', '.join(present))}"}
            rows.append(shared | scope | _score(restricted, present))
    return pd.DataFrame(rows)


def build_pairs(test_set: TestSet) -> pd.DataFrame:
    """Return a row each pair of entries with the same share of labels.

    Columns: data, label_percent, first, second (numbers), first_model, second_model; for each
    metric the difference of the means over seeds, first less second, with ``_low`` and ``_high``
    (95 % interval over groups, paired), ``_p`` and ``_p_holm`` (over all rows); common_seeds, and
    ``t_p`` and ``t_p_holm`` of the paired t-test of balanced accuracy over those seeds.
    """
    drawn = {
        (entry.number, name): _draw(entry, test_set.classes, name)
        for entry in test_set.entries
        for name in METRICS
        if sum(other.label_percent == entry.label_percent for other in test_set.entries) > 1
    }
    rows = []
    for first, second in combinations(test_set.entries, 2):
        if first.label_percent != second.label_percent:
            continue
        row: dict[str, Any] = {
            "data": test_set.title,
            "label_percent": first.label_percent,
            "first": first.number,
            "second": second.number,
            "first_model": first.name,
            "second_model": second.name,
        }
        for name in METRICS:
            found = estimate_difference(drawn[first.number, name], drawn[second.number, name])
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            row[f"{name}_p"] = found.p_value
        rows.append(row | _compare_seeds(first, second, test_set.classes))
    table = pd.DataFrame(rows)
    for name in (*METRICS, "t") if len(table) else ():
        table[f"{name}_p_holm"] = adjust_holm(table[f"{name}_p"].tolist())
    return table


def build_classes(test_set: TestSet) -> pd.DataFrame:
    """Return the rows of `class_tables.tabulate_classes` of each entry, its seeds pooled.

    Columns number, model and data stand before them; support is that of one seed.
    """
    parts = []
    for entry in test_set.entries:
        table = tabulate_classes(pd.concat(entry.frames), test_set.classes)
        table["support"] //= len(entry.frames)
        table["class"] = table["class"].map(show)
        for place, name in enumerate(("number", "model", "data")):
            value = (entry.number, entry.name, test_set.title)[place]
            table.insert(place, name, value)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def estimate_mean_auroc(entry: Entry) -> Estimate:
    """Return the mean one-vs-rest area over the classes that are there and over seeds.

    With a single class among the labels there is none (NaN).
    """
    first = entry.frames[0]
    names, of_image = np.unique(first["group"].astype(str), return_inverse=True)
    held = sorted(set(first["label"]))
    extent = (len(first), len(names))
    if len(held) < 2:
        nothing = float("nan")
        return Estimate(nothing, nothing, nothing, *extent)
    scorers: list[Callable[[Floats], Floats]] = [
        auroc_scorer((frame["label"] == name).to_numpy(), frame[f"prob_{name}"].to_numpy(float))
        for frame in entry.frames
        for name in held
    ]

    def score(weights: Floats) -> Floats:
        of_images = weights[:, of_image]
        mean: Floats = np.mean([scorer(of_images) for scorer in scorers], axis=0)
        return mean

    draws = bootstrap_groups(score, len(names), num_images=len(first))
    value = float(score(np.ones((1, len(names))))[0])
    return Estimate(value, *find_interval(draws), *extent)


def find_mean(entry: Entry, name: str) -> float | None:
    """Return the mean over seeds of a score of the summaries; None where one lacks it."""
    values = [run.test_metrics(entry.test).get(name) for run in entry.runs]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return float(np.mean(numbers)) if len(numbers) == len(values) else None


def command_of(entry: Entry) -> str:
    """Return the command that made the entry's runs; with several seeds, without the seed."""
    return show(rebuild_command(entry.first, with_seed=len(entry.runs) == 1))


def score_seeds(entry: Entry, classes: Sequence[str], metric: str) -> dict[int, float]:
    """Return a metric of each run, by seed."""
    totals = entry.confusions(classes).sum(axis=1).astype(float)
    return dict(zip(entry.seeds, METRICS[metric](totals).tolist(), strict=True))


def _score(entry: Entry, classes: Sequence[str]) -> dict[str, Any]:
    confusions = entry.confusions(classes)
    columns: dict[str, Any] = {}
    for name, metric in METRICS.items():
        found = estimate(confusions, metric)
        values = list(score_seeds(entry, classes, name).values())
        columns[name] = found.value
        columns[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        columns |= {f"{name}_low": found.low, f"{name}_high": found.high}
        columns[f"{name}_by_seed"] = " ".join(f"{value:.4f}" for value in values)
    return columns


def _draw(entry: Entry, classes: Sequence[str], metric: str) -> DrawnScore:
    confusions = entry.confusions(classes)
    draws = bootstrap_groups(
        score_draws(confusions, METRICS[metric]),
        confusions.shape[1],
        num_resamples=NUM_PAIRED_RESAMPLES,
    )
    return DrawnScore(float(METRICS[metric](confusions.sum(axis=1).astype(float)).mean()), draws)


def _compare_seeds(first: Entry, second: Entry, classes: Sequence[str]) -> dict[str, Any]:
    of_first = score_seeds(first, classes, MAIN_METRIC)
    of_second = score_seeds(second, classes, MAIN_METRIC)
    common = sorted(of_first.keys() & of_second.keys())
    p_value = float("nan")
    if len(common) >= _LEAST_SEEDS:
        differences = np.array([of_first[seed] - of_second[seed] for seed in common])
        p_value = find_p_values(differences)[0]
    return {"common_seeds": len(common), "t_p": p_value}
