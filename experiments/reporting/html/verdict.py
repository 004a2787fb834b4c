"""What the figures of a test set say, in words made from numbers alone."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from experiments.reporting.html.entries import Entry, TestSet
from experiments.reporting.html.scores import ALL_CLASSES, MAIN_METRIC
from experiments.reporting.prediction_tables import show
from experiments.reporting.tables import SYNTHETIC_NOTE

SIGNIFICANT: Final = 0.05

_ALL_LABELS: Final = 100


def describe_test_set(
    test_set: TestSet, results: pd.DataFrame, pairs: pd.DataFrame
) -> tuple[str, ...]:
    """Return what was tested on what; then, by share of labels, which model is best and how far.

    Models are ranked by balanced accuracy, and compared at the same share of labels.

    Args:
        test_set: The test set.
        results: Of `scores.build_results`.
        pairs: Of `scores.build_pairs`.
    """
    num_runs = sum(len(entry.runs) for entry in test_set.entries)
    models = _count(len(test_set.entries), "model")
    sentences = [SYNTHETIC_NOTE] if test_set.is_synthetic else []
    sentences.append(
        f"{models} ({_count(num_runs, 'run')}) tested on {test_set.num_images:,} images in "
        f"{_count(test_set.num_groups, 'group')}, {len(test_set.classes)} classes."
    )
    present = test_set.entries[0].frames[0]["label"].nunique()
    sentences.append(
        f"Scores are balanced accuracies; always naming one class gives 1/{present} = "
        f"{1 / present:.3f}."
    )
    if len(pairs):
        sentences.append(
            "The best against the next, p-values corrected by Holm's method "
            f"over {_count(len(pairs), 'pair')}:"
        )
    if test_set.num_groups == 1:
        sentences.append("With a single group there are neither intervals nor tests.")
    table = results[results["scope"] == ALL_CLASSES].set_index("number")
    by_percent: dict[int, list[Entry]] = {}
    for entry in test_set.entries:
        by_percent.setdefault(entry.label_percent, []).append(entry)
    return (
        " ".join(sentences),
        *(_describe_percent(found, table, pairs) for _, found in sorted(by_percent.items())),
    )


def format_p(value: float) -> str:
    """Return a p-value, ``0.012`` or ``< 0.001``; a dash where there is none."""
    if pd.isna(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _describe_percent(entries: list[Entry], table: pd.DataFrame, pairs: pd.DataFrame) -> str:
    # A model after an earlier stage is no rival of itself.
    rivals = [entry for entry in entries if entry.test is None] or entries
    scores = table.loc[[entry.number for entry in rivals]]
    ranked = scores.sort_values(MAIN_METRIC, ascending=False, kind="stable")
    best = ranked.iloc[0]
    labels = "all labels" if best["label_percent"] == _ALL_LABELS else (
        f"{best['label_percent']} % of the labels"
    )  # fmt: skip
    by_number = {entry.number: entry for entry in rivals}
    score = f"balanced accuracy {_format(best)}{_describe_names(by_number[ranked.index[0]])}"
    name = f"With {labels}: {ranked.index[0]}. {best['model']}, {score}"
    if len(ranked) == 1:
        return f"{name}; nothing to compare it with."
    second = ranked.index[1]
    found = _find_pair(pairs, ranked.index[0], second)
    score = f"{_format(ranked.iloc[1])}{_describe_names(by_number[second])}"
    against = f"{second}. {ranked.iloc[1]['model']} ({score})"
    is_equal = f"{found['value']:.3f}" in ("0.000", "-0.000")
    if pd.isna(found["p"]):
        return f"{name}, {'equals' if is_equal else 'before'} {against}."
    lead = f"equals {against}," if is_equal else f"leads {against} by {found['value']:.3f}"
    return f"{name}, {lead} [{found['low']:+.3f}, {found['high']:+.3f}]; {_judge(found)}"


def _describe_names(entry: Entry) -> str:
    """Return which single class a model names for all images, if it is so with some seed."""
    named = [frame["pred"].unique() for frame in entry.frames]
    stuck = [str(names[0]) for names in named if len(names) == 1]
    if not stuck:
        return ""
    seeds = "" if len(stuck) == len(named) else f" with {len(stuck)} of {len(named)} seeds"
    return f", names {show(' or '.join(sorted(set(stuck))))} only{seeds}"


def _judge(found: dict[str, Any]) -> str:
    """Return whether the difference outlives other test images, and other seeds."""
    groups = f"p {_equals(found['p'])} over test groups"
    if found["p"] >= SIGNIFICANT:
        return f"{groups}: no more than the choice of test images may explain."
    if pd.isna(found["t_p"]):
        return (
            f"{groups}: more than the choice of test images may explain; what the seed does is not "
            "known, since they share fewer than two."
        )
    seeds = f"p {_equals(found['t_p'])} over {found['seeds']} seeds"
    if found["t_p"] >= SIGNIFICANT:
        return f"{groups}, but {seeds}: no more than the seeds may explain."
    return f"{groups}, {seeds}: more than test images and seeds may explain."


def _equals(p_value: float) -> str:
    shown = format_p(p_value)
    return shown if shown.startswith("<") else f"= {shown}"


def _find_pair(pairs: pd.DataFrame, better: int, worse: int) -> dict[str, Any]:
    """Return the difference in balanced accuracy, better less worse."""
    is_turned = better > worse
    first, second = sorted((better, worse))
    row = pairs[(pairs["first"] == first) & (pairs["second"] == second)].iloc[0]
    value, low, high = (row[f"{MAIN_METRIC}{end}"] for end in ("", "_low", "_high"))
    if is_turned:
        value, low, high = -value, -high, -low
    return {
        "value": value,
        "low": low,
        "high": high,
        "p": row[f"{MAIN_METRIC}_p_holm"],
        "t_p": row["t_p_holm"],
        "seeds": int(row["common_seeds"]),
    }


def _format(row: pd.Series) -> str:
    score = f"{row[MAIN_METRIC]:.3f}"
    low, high = row[f"{MAIN_METRIC}_low"], row[f"{MAIN_METRIC}_high"]
    return score if pd.isna(low) else f"{score} [{low:.3f}, {high:.3f}]"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
