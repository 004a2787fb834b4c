"""The table of the four sibling systems: what was run, on what, and what their authors report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from experiments.reporting.identity import find_choices, model_key, rebuild_command
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.reported import (
    SIBLINGS,
    SYSTEMS,
    SourceSystem,
    find_reported,
    format_reported,
)
from experiments.reporting.statistics import METRICS
from experiments.reporting.tables import (
    SYNTHETIC_NOTE,
    estimate_runs,
    format_cell,
    format_time,
    score_columns,
)

_MAIN_TEST: Final = "main"
_STAND_IN: Final = "(stand-in)"
"""How the name of a set ends that was laid out as another one."""


def build_sibling_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Return a row a command and test, over its seeds, in the order of the systems.

    Columns: system, experiment, protocol, test (``main``, or the name of a further test), data
    (named as a stand-in where it is not the set that the authors used), synthetic, command, epochs,
    seconds (mean over seeds), seeds, test_images, test_groups; each metric with ``_sd`` over seeds
    and its 95 % interval over groups; where the test lacks classes ``restricted_to`` and the
    metrics once more with ``restricted_``; reported (what the authors report).

    Raises:
        ValueError: A run is of no sibling system; synthetic and real runs are mixed; runs of one
            command but for the seed were tested on different images.
    """
    if len({run.is_synthetic for run in runs}) > 1:
        raise ValueError("Synthetic and real results never share a table; pass one kind of runs.")
    models: dict[str, list[FinishedRun]] = {}
    for run in runs:
        if run.summary["experiment"] not in SIBLINGS:
            raise ValueError(
                f"{run.path} is a run of {run.summary['experiment']}; this table is of "
                f"{', '.join(SIBLINGS)}."
            )
        models.setdefault(model_key(run), []).append(run)
    rows = [
        _build_row(sorted(members, key=lambda run: int(run.summary["seed"])), test)
        for members in models.values()
        for test in (*members[0].other_tests, None)
    ]
    # Sorting is stable: a further test, e.g. an earlier stage, stands before the main one.
    rows.sort(key=lambda row: (SIBLINGS.index(row["experiment"]), row["protocol"], row["command"]))
    return pd.DataFrame(rows)


def sibling_table_to_markdown(table: pd.DataFrame) -> str:
    """Return the table, or what was read of it from CSV, as Markdown.

    Data and commands, which are long, stand below it under letters and numbers. The row restricted
    to the classes that a test holds is left out where its accuracy is the same.
    """
    data = {name: chr(ord("a") + i) for i, name in enumerate(dict.fromkeys(table["data"]))}
    commands = {text: i for i, text in enumerate(dict.fromkeys(table["command"]), start=1)}
    lines = [
        "| | system, protocol | data | epochs | seeds | time | test images (groups) | accuracy "
        "| balanced accuracy | macro F1 | authors report |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        marks = (str(commands[row["command"]]), data[row["data"]])
        lines.append(_format_row(row, "", *marks))
        if _differs_restricted(row):
            lines.append(_format_row(row, "restricted_", *marks))
    lines += [
        "",
        "Data:",
        "",
        *(f"- {letter}: {name}" for name, letter in data.items()),
        "",
        "Commands:",
    ]
    lines += ["", *(f"    {number:>2}  {text}" for text, number in commands.items())]
    if table["synthetic"].any():
        lines = [SYNTHETIC_NOTE, "", *lines]
    return "\n".join(lines)


def describe_data(run: FinishedRun, system: SourceSystem) -> str:
    """Return the name of a run's data, said to be a stand-in where `system` was not reported on it.

    A set of the right name with fewer images than published is said to be a part.
    """
    name = str(run.summary["data"]["name"])
    if run.is_synthetic:
        return f"{name} (synthetic)"
    splits = run.summary["splits"].values()
    number = sum(sum(split["images"].values()) - split["masked"] for split in splits)
    if name.endswith(_STAND_IN):
        return f"{name}, {number:,} images"
    if name.split(",")[0] in system.data_names and name not in system.data_names:
        return f"{name}, {number:,} images"
    if name not in system.data_names:
        return f"{name}, {number:,} images (stand-in for {system.data})"
    if number < system.num_images:
        return f"{name} ({number:,} of {system.num_images:,} images)"
    return name


def _build_row(runs: Sequence[FinishedRun], test: str | None) -> dict[str, Any]:
    first = runs[0]
    experiment = str(first.summary["experiment"])
    named = [str(first.config[key]) for key in ("variant", "protocol") if first.config.get(key)]
    backbone = find_choices(first).get("backbone")
    # Else a row would be taken for one of the backbone that the system is named after.
    if backbone and not any(backbone in name for name in named):
        named.insert(0, backbone)
    settings = {
        **first.config.get("options", {}),
        **{key: first.config[key] for key in ("variant", "protocol") if key in first.config},
        "round": test,
    }
    estimates = estimate_runs(runs, test)
    row: dict[str, Any] = {
        "system": SYSTEMS[experiment].title,
        "experiment": experiment,
        "protocol": ", ".join(dict.fromkeys(named)) or _MAIN_TEST,
        "test": test or _MAIN_TEST,
        "data": describe_data(first, SYSTEMS[experiment]),
        "synthetic": first.is_synthetic,
        "command": rebuild_command(first, with_seed=len(runs) == 1),
        "epochs": first.summary["epochs"],
        "seconds": sum(run.summary["seconds"] for run in runs) / len(runs),
        "seeds": len(runs),
        "test_images": estimates["accuracy"].num_images,
        "test_groups": estimates["accuracy"].num_groups,
        **score_columns(runs, estimates, test),
    }
    restricted = first.test_metrics(test).get("restricted")
    if restricted:
        row["restricted_to"] = " ".join(restricted["classes"])
        found = estimate_runs(runs, test, restricted=True)
        row |= score_columns(runs, found, test, "restricted")
    row["reported"] = format_reported(find_reported(experiment, settings))
    return row


def _differs_restricted(row: dict[str, Any]) -> bool:
    if "restricted_to" not in row or pd.isna(row["restricted_to"]):
        return False
    return bool(row["restricted_accuracy"] != row["accuracy"]) or row["test"] != _MAIN_TEST


def _format_row(row: dict[str, Any], prefix: str, number: str, letter: str) -> str:
    what = f"{row['system']}: {row['protocol']}"
    if row["test"] != _MAIN_TEST:
        what += f", {row['test']}"
    if prefix:
        what += f", restricted to {str(row['restricted_to']).replace(' ', ', ')}"
    cells = [
        number,
        what,
        letter,
        str(row["epochs"]),
        str(row["seeds"]),
        format_time(row["seconds"]),
        f"{row['test_images']:,} ({row['test_groups']:,})",
        *(format_cell(row, prefix + name) for name in METRICS),
        str(row["reported"]),
    ]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
