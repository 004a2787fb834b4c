"""Results of models that were tested on several sets, or trained several times, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting.class_tables import build_class_table, format_class_table
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.tables import estimate_runs

_WIDTH = 80


def format_further_test(run: FinishedRun, test: str) -> str:
    """Return precision, recall, F1 and support by class of a run's further test.

    Raises:
        ValueError: The run has no such test, or its predictions are damaged.
    """
    return f"{test} by class:\n\n{format_class_table(build_class_table(run, test))}"


def format_tests(runs: Sequence[FinishedRun], main_test: str) -> str:
    """Return the scores of each test, as means over runs that differ in their seed.

    A test that lacks classes has its scores twice: over all answers, and restricted to the classes
    that it holds, as if the models could name no others.

    Args:
        runs: Of one command but for the seed.
        main_test: What the main test is called.

    Raises:
        ValueError: The runs were not tested on the same images, or predictions are damaged.
    """
    seeds = ", ".join(str(run.summary["seed"]) for run in runs)
    over = f"means over the seeds {seeds} ± standard deviation" if len(runs) > 1 else "one run"
    title = f"All tests; {over}; in brackets 95 % intervals over groups:"
    lines = textwrap.wrap(title, _WIDTH)
    for test, name in [(None, main_test), *((name, name) for name in runs[0].other_tests)]:
        lines += ["", *_format_test(runs, test, name)]
    return "\n".join(lines)


def _format_test(runs: Sequence[FinishedRun], test: str | None, name: str) -> list[str]:
    metrics = [run.test_metrics(test) for run in runs]
    lines = [f"{name}, {sum(c['support'] for c in metrics[0]['per_class'].values())} images"]
    lines += _format_scores(runs, test, metrics, is_restricted=False)
    if "restricted" not in metrics[0]:
        return [*lines, "  It holds all classes: restricted scores would be the same."]
    held = ", ".join(metrics[0]["restricted"]["classes"])
    lines += textwrap.wrap(
        f"restricted to the classes that it holds, {held}:",
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
    )
    restricted = [entry["restricted"] for entry in metrics]
    return lines + _format_scores(runs, test, restricted, is_restricted=True)


def _format_scores(
    runs: Sequence[FinishedRun],
    test: str | None,
    metrics: Sequence[Mapping[str, Any]],
    *,
    is_restricted: bool,
) -> list[str]:
    lines = []
    for name, found in estimate_runs(runs, test, restricted=is_restricted).items():
        values = [entry[name] for entry in metrics]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        interval = f"[{found.low:.3f}, {found.high:.3f}]"
        lines.append(f"  {name.replace('_', ' '):28}{found.value:.3f}{spread}  {interval}")
    return lines
