"""Result tables as text, Markdown and CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.files import write_whole
from experiments.reporting.class_tables import build_class_table, format_class_table
from experiments.reporting.identity import name_recipe
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.statistics import (
    METRICS,
    Estimate,
    estimate,
    find_present,
    group_confusions,
    restrict_predictions,
)

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

SYNTHETIC_NOTE = "SYNTHETIC data: the figures show that it runs, nothing about real cells."


def estimate_runs(
    runs: Sequence[FinishedRun], test: str | None = None, *, restricted: bool = False
) -> dict[str, Estimate]:
    """Return accuracy, balanced accuracy and macro F1 on test, means over the runs' seeds.

    Args:
        runs: Of one experiment, tested on the same images.
        test: Name of a further test; None: the main one.
        restricted: Let the models name only the classes that the test split holds.

    Raises:
        ValueError: The runs were not tested on the same images.
    """
    frames = [run.predictions(test) for run in runs]
    if any(frame["sample_id"].tolist() != frames[0]["sample_id"].tolist() for frame in frames):
        raise ValueError(
            f"{runs[0].path} and its sister runs were tested on different images; their mean would "
            "mean nothing. Report them apart."
        )
    classes = runs[0].classes
    if restricted:
        classes = find_present(frames[0]["label"].tolist(), classes)
        frames = [restrict_predictions(frame, classes) for frame in frames]
    confusions = np.stack(
        [
            group_confusions(frame["label"], frame["pred"], frame["group"], classes)
            for frame in frames
        ]
    )
    return {name: estimate(confusions, metric) for name, metric in METRICS.items()}


def format_result(run: FinishedRun) -> str:
    """Return a classifier's test result as text of at most 80 columns."""
    summary, test = run.summary, run.summary["test"]
    title = f"{_name_model(run)}, seed {summary['seed']}"
    if summary.get("label_percent"):
        title += f", {summary['label_percent']} % of the labels"
    estimates = estimate_runs([run])
    some = next(iter(estimates.values()))
    limit = run.config.get("options", {}).get("max_train_images")
    lines = textwrap.wrap(f"Test result of {title} on {summary['data']['name']}", 80)
    if limit is not None:
        lines.append(f"Learnt from {run.num_train_images} images: --max-train-images {limit}")
    if run.is_synthetic:
        lines.append(SYNTHETIC_NOTE)
    lines += [
        f"n = {some.num_images} images in {some.num_groups} groups; "
        "in brackets 95 % intervals over groups",
        "",
    ]
    lines += [
        f"  {name.replace('_', ' '):28}{e.value:.3f}  [{e.low:.3f}, {e.high:.3f}]"
        for name, e in estimates.items()
    ]
    lines += [
        f"  {name.replace('_', ' '):28}{test[name]:.3f}"
        for name in ("loss", "expected_calibration_error", "brier")
    ]
    lines += _format_restricted(run)
    lines += ["", format_class_table(build_class_table(run))]
    left_out = summary["data"].get("left_out", {})
    if left_out:
        lines += ["", "Left out of the data:"]
        lines += [f"  {number:6d}  {reason}" for reason, number in left_out.items()]
    return "\n".join(lines)


def _name_model(run: FinishedRun) -> str:
    """Return what learnt: the experiment, of a study's run also its variant and draw."""
    experiment, variant = str(run.summary["experiment"]), run.config.get("variant")
    if not isinstance(variant, str):
        return experiment
    draw = f", draw {run.config['draw']}" if "draw" in run.config else ""
    return f"{variant} ({experiment}){draw}"


def _format_restricted(run: FinishedRun) -> list[str]:
    """Return lines on the classes that the test split holds, if it lacks some."""
    if "restricted" not in run.summary["test"]:
        return []
    names = ", ".join(run.summary["test"]["restricted"]["classes"])
    return [
        "",
        *textwrap.wrap(
            f"restricted to the classes in this test split: {names}",
            80,
            initial_indent="  ",
            subsequent_indent="    ",
        ),
        *(
            f"  {name.replace('_', ' '):28}{e.value:.3f}  [{e.low:.3f}, {e.high:.3f}]"
            for name, e in estimate_runs([run], restricted=True).items()
        ),
    ]


def build_result_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Return a row an experiment and label percent, over its seeds.

    Other flags of how it learns than those of the script make another row, named with them.

    Columns: experiment, data, label_percent, epochs, seeds, train_images, test_images,
    test_groups; for each metric its mean over seeds, the standard deviation over seeds (empty for
    one seed), the 95 % interval of the mean over groups, and the ``_values`` by seed. Where a test
    split lacks classes also ``restricted_to``, those it holds, and the metrics once more, each with
    ``restricted_`` before its name.

    Raises:
        ValueError: Synthetic and real runs are mixed.
    """
    if len({run.is_synthetic for run in runs}) > 1:
        raise ValueError("Synthetic and real results never share a table; pass one kind of runs.")
    keyed: dict[tuple[Any, ...], list[FinishedRun]] = {}
    for run in runs:
        summary = run.summary
        percent = summary.get("label_percent", 100)
        key = (name_recipe(run), summary["data"]["name"], percent, summary["epochs"])
        keyed.setdefault(key, []).append(run)
    rows = []
    for key, members in sorted(keyed.items(), key=lambda item: (item[0][1], item[0][2], item[0])):
        members.sort(key=lambda run: run.summary["seed"])
        estimates = estimate_runs(members)
        row: dict[str, Any] = dict(
            zip(("experiment", "data", "label_percent", "epochs"), key, strict=True)
        )
        row["seeds"] = len(members)
        row["train_images"] = sum(members[0].summary["splits"]["train"]["images"].values())
        row["test_images"] = estimates["accuracy"].num_images
        row["test_groups"] = estimates["accuracy"].num_groups
        row |= score_columns(members, estimates)
        for name in METRICS:
            values = (run.summary["test"][name] for run in members)
            row[f"{name}_values"] = " ".join(f"{value:.4f}" for value in values)
        if "restricted" in members[0].summary["test"]:
            row["restricted_to"] = " ".join(members[0].summary["test"]["restricted"]["classes"])
            row |= score_columns(
                members, estimate_runs(members, restricted=True), entry="restricted"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def score_columns(
    runs: Sequence[FinishedRun],
    estimates: dict[str, Estimate],
    test: str | None = None,
    entry: str | None = None,
) -> dict[str, Any]:
    """Return mean, standard deviation and interval of each metric, as columns of a table.

    Args:
        runs: Over whose seeds the standard deviation goes.
        estimates: Of the same runs, by metric.
        test: Name of a further test; None: the main one.
        entry: Of the summary's test result that holds the runs' scores; comes before the names.
    """
    prefix = f"{entry}_" if entry else ""
    columns: dict[str, Any] = {}
    tests = [run.test_metrics(test) for run in runs]
    for name, found in estimates.items():
        values = [(metrics[entry] if entry else metrics)[name] for metrics in tests]
        columns[prefix + name] = found.value
        columns[f"{prefix}{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        columns[f"{prefix}{name}_low"] = found.low
        columns[f"{prefix}{name}_high"] = found.high
    return columns


def to_markdown(table: pd.DataFrame) -> str:
    """Return the table of `build_result_table`, or what was read of it from CSV, as Markdown."""
    header = (
        "| experiment | labels | training images | epochs | seeds | accuracy | balanced accuracy "
        "| macro F1 |\n|---|---|---|---|---|---|---|---|"
    )
    lines = [header]
    for row in table.to_dict("records"):
        lines.append(_format_row(row, str(row["experiment"])))
        if "restricted_to" in row and not pd.isna(row["restricted_to"]):
            held = str(row["restricted_to"]).replace(" ", ", ")
            title = f"{row['experiment']}, restricted to {held}"
            lines.append(_format_row(row, title, "restricted_"))
    return "\n".join(lines)


def _format_row(row: dict[str, Any], title: str, prefix: str = "") -> str:
    cells = [
        title,
        f"{row['label_percent']} %",
        str(row["train_images"]),
        str(row["epochs"]),
        str(row["seeds"]),
        *(format_cell(row, prefix + name) for name in METRICS),
    ]
    return f"| {' | '.join(cells)} |"


def format_cell(row: dict[str, Any], name: str) -> str:
    """Return a score of a table's row with spread and interval, ``0.83 ± 0.05 [0.81, 0.86]``."""
    spread = "" if pd.isna(row[f"{name}_sd"]) else f" ± {row[f'{name}_sd']:.3f}"
    return f"{row[name]:.3f}{spread} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def replace_between_markers(text: str, name: str, content: str) -> str:
    """Return `text` with what stands between the markers of `name` replaced.

    Markers are the HTML comments ``<!-- results:NAME -->`` and ``<!-- /results:NAME -->``.

    Raises:
        ValueError: A marker is missing.
    """
    start, end = f"<!-- results:{name} -->", f"<!-- /results:{name} -->"
    if start not in text or end not in text:
        raise ValueError(
            f"There are no markers {start} and {end}. Put these two lines where the table belongs."
        )
    before, rest = text.split(start, 1)
    after = rest.split(end, 1)[1]
    return f"{before}{start}\n{content}\n{end}{after}"


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table as `format_csv` gives it."""
    with write_whole(path) as temporary:
        temporary.write_text(format_csv(table), encoding="utf-8")


def format_csv(table: pd.DataFrame) -> str:
    """Return the table as CSV with four decimals, no text of which a spreadsheet would run."""
    guarded = guard_formulas(table)
    return str(guarded.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def guard_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with texts and heads that no spreadsheet takes for a formula."""
    return table.map(_guard).rename(columns=_guard)


def _guard(value: Any) -> Any:
    is_risky = isinstance(value, str) and value.startswith(_FORMULA_STARTS) and len(value) > 1
    return f"'{value}" if is_risky else value


def format_time(seconds: float) -> str:
    """Return a duration, ``42 s``, ``3 min 5 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes_rest = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_rest} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
