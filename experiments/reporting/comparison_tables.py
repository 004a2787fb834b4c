"""The comparison of runs as tables and as text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.reporting.alignment import AlignedRuns
from experiments.reporting.class_tables import build_class_table, format_score
from experiments.reporting.comparison import PairedTest, SeedTest
from experiments.reporting.ranking import estimate_macro_auroc
from experiments.reporting.statistics import METRICS, estimate
from experiments.reporting.tables import SYNTHETIC_NOTE

_WIDTH = 80
_NAME_WIDTH = 37
_COUNT_WIDTH = 12


def build_run_table(aligned: AlignedRuns) -> pd.DataFrame:
    """Return a row a run.

    Columns: letter, run, experiment, seed, data, parameters (trained), frozen_parameters, epochs,
    train_images, seconds, images, groups, and accuracy, balanced_accuracy, macro_f1 and macro_auroc
    with their 95 % intervals over groups (``_low``, ``_high``).
    """
    rows = []
    for index, run in enumerate(aligned.runs):
        summary = run.summary
        parameters = summary.get("parameters", {})
        row: dict[str, Any] = {
            "letter": aligned.letters[index],
            "run": aligned.names[index],
            "experiment": summary.get("experiment"),
            "seed": summary.get("seed"),
            "data": summary["data"]["name"],
            "parameters": parameters.get("trained"),
            "frozen_parameters": parameters.get("frozen"),
            "epochs": summary.get("epochs"),
            "train_images": run.num_train_images,
            "seconds": summary.get("seconds"),
            "images": aligned.num_images,
            "groups": aligned.num_groups,
        }
        confusions = aligned.confusions(index)[None]
        found = {name: estimate(confusions, metric) for name, metric in METRICS.items()}
        found["macro_auroc"] = estimate_macro_auroc(aligned.frames[index])
        for name, score in found.items():
            row |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
        rows.append(row)
    return pd.DataFrame(rows)


def build_class_tables(aligned: AlignedRuns) -> pd.DataFrame:
    """Return the rows of `class_tables.build_class_table` of all runs, with letter and run."""
    parts = []
    for letter, name, run in zip(aligned.letters, aligned.names, aligned.runs, strict=True):
        table = build_class_table(run, aligned.test)
        table.insert(0, "letter", letter)
        table.insert(1, "run", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def build_pair_table(pairs: Sequence[PairedTest]) -> pd.DataFrame:
    """Return a row a pair of runs: McNemar's test, differences with interval, p and Holm's p."""
    rows = []
    for pair in pairs:
        row: dict[str, Any] = {
            "first": pair.first,
            "second": pair.second,
            "only_first_right": pair.mcnemar.only_first,
            "only_second_right": pair.mcnemar.only_second,
            "mcnemar_is_exact": pair.mcnemar.is_exact,
            "mcnemar_p": pair.mcnemar.p_value,
            "mcnemar_p_holm": pair.holm["mcnemar"],
        }
        for name, found in pair.differences.items():
            row |= {
                name: found.value,
                f"{name}_low": found.low,
                f"{name}_high": found.high,
                f"{name}_p": found.p_value,
                f"{name}_p_holm": pair.holm[name],
            }
        rows.append(row)
    return pd.DataFrame(rows)


def build_seed_table(tests: Sequence[SeedTest]) -> pd.DataFrame:
    """Return a row a pair of models and metric: the paired tests over seeds."""
    return pd.DataFrame([vars(test) for test in tests])


def format_comparison(
    aligned: AlignedRuns,
    runs: pd.DataFrame,
    classes: pd.DataFrame,
    pairs: pd.DataFrame,
    seeds: pd.DataFrame,
) -> str:
    """Return the tables as text of at most 80 columns."""
    blocks = [_format_head(aligned), _format_runs(runs), _format_classes(classes)]
    if len(pairs):
        blocks.append(_format_pairs(aligned, pairs))
    if len(seeds):
        blocks.append(_format_seeds(seeds))
    return "\n\n".join(blocks)


def _format_head(aligned: AlignedRuns) -> str:
    test = f" of the test {aligned.test}" if aligned.test else ""
    text = (
        f"{len(aligned.runs)} runs on {', '.join(aligned.data_names)}: the same "
        f"{aligned.num_images} test images in {aligned.num_groups} groups{test}. In brackets: 95 % "
        "bootstrap intervals over groups."
    )
    note = [SYNTHETIC_NOTE] if aligned.is_synthetic else []
    return "\n".join([*note, *textwrap.wrap(text, _WIDTH)])


def _format_runs(table: pd.DataFrame) -> str:
    has_counts = table["train_images"].nunique(dropna=False) > 1
    width = _NAME_WIDTH - _COUNT_WIDTH * has_counts
    count = f"{'learnt from':>{_COUNT_WIDTH}}" if has_counts else ""
    lines = [f"   {'run':{width}}{count}{'trained':>12}{'frozen':>12}{'epochs':>7}{'time (s)':>9}"]
    for row in table.to_dict("records"):
        name = row["run"]
        if len(name) > width:
            name = f"…{name[1 - width :]}"
        count = f"{_whole(row['train_images']):>{_COUNT_WIDTH}}" if has_counts else ""
        lines.append(
            f"{row['letter']}  {name:{width}}{count}{_whole(row['parameters']):>12}"
            f"{_whole(row['frozen_parameters']):>12}{_whole(row['epochs']):>7}"
            f"{_whole(row['seconds']):>9}"
        )
    if has_counts:
        lines.append("   learnt from: training images, which differ")
    lines += ["", f"   {'accuracy':22}{'balanced accuracy':22}{'macro F1':22}macro AUC"]
    for row in table.to_dict("records"):
        scores = "".join(f"{format_score(row, name):22}" for name in METRICS)
        lines.append(f"{row['letter']}  {scores}{row['macro_auroc']:.3f}")
    return "\n".join(lines)


def _format_classes(table: pd.DataFrame) -> str:
    lines = [f"{'class':21}run  {'precision':21}{'recall (sensitivity)':22}f1    n"]
    for name, rows in table.groupby("class", sort=False):
        for number, row in enumerate(rows.to_dict("records")):
            title = str(name)[:20] if number == 0 else ""
            f1 = "-" if pd.isna(row["f1"]) else f"{row['f1']:.3f}"
            lines.append(
                f"{title:21}{row['letter']:4}{format_score(row, 'precision'):22}"
                f"{format_score(row, 'recall'):22}{f1:6}{row['support']:d}"
            )
    return "\n".join(lines)


def _format_pairs(aligned: AlignedRuns, table: pd.DataFrame) -> str:
    lines = textwrap.wrap(
        "Paired tests, first less second. McNemar: images that only one of the two names rightly. "
        f"p by Holm over {len(table)} pair(s), each test by itself.",
        _WIDTH,
    )
    if aligned.num_groups < aligned.num_images:
        lines += textwrap.wrap(
            f"McNemar counts the {aligned.num_images} images as independent, and they are in "
            f"{aligned.num_groups} groups only: trust the intervals over groups.",
            _WIDTH,
        )
    lines += ["", f"{'pair':6}{'test':20}{'difference':26}{'p':>10}{'p (Holm)':>12}"]
    for row in table.to_dict("records"):
        pair = f"{row['first']} - {row['second']}"
        kind = "McNemar, exact" if row["mcnemar_is_exact"] else "McNemar, chi2"
        counts = f"{row['only_first_right']} : {row['only_second_right']} images"
        lines.append(
            f"{pair:6}{kind:20}{counts:26}{_p(row['mcnemar_p']):>10}{_p(row['mcnemar_p_holm']):>12}"
        )
        for name in METRICS:
            difference = f"{row[name]:+.3f}"
            if not pd.isna(row[f"{name}_low"]):
                difference += f" [{row[f'{name}_low']:+.3f}, {row[f'{name}_high']:+.3f}]"
            lines.append(
                f"{'':6}{_title(name):20}{difference:26}"
                f"{_p(row[f'{name}_p']):>10}{_p(row[f'{name}_p_holm']):>12}"
            )
    return "\n".join(lines)


def _format_seeds(table: pd.DataFrame) -> str:
    lines = ["Over seeds: mean ± sd of the differences, p of paired t-test and Wilcoxon's"]
    lines += ["signed-rank test, by Holm over pairs of models; six seeds at least for Wilcoxon"]
    lines += ["to reach 0.05."]
    for (first, second), rows in table.groupby(["first", "second"], sort=False):
        lines += ["", f"{first}  less  {second}"[:_WIDTH]]
        lines += [
            f"  {_title(row['metric']):18} {row['mean']:+.3f} ± {row['sd']:.3f} "
            f"({row['num_seeds']} seeds)   t {_p(row['t_p_value'])} ({_p(row['t_holm'])})   "
            f"W {_p(row['wilcoxon_p_value'])} ({_p(row['wilcoxon_holm'])})"
            for row in rows.to_dict("records")
        ]
    return "\n".join(lines)


def _title(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1")


def _p(value: float) -> str:
    if pd.isna(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _whole(value: float | None, separator: str = ",") -> str:
    return "-" if value is None or pd.isna(value) else f"{value:{separator}.0f}"
