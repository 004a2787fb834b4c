"""The page of a report: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.reporting.html.cards import AuditCard, build_environments
from experiments.reporting.html.entries import TestSet, name_run
from experiments.reporting.html.parts import SetView
from experiments.reporting.html.scores import command_of
from experiments.reporting.html.studies import StudyView
from experiments.reporting.html.text_tables import TextTable, format_number
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.prediction_tables import show
from experiments.reporting.tables import SYNTHETIC_NOTE

_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True)
class PageContent:
    """What a page shows.

    Attributes:
        test_sets: Real ones first.
        views: One each.
        studies: Over several draws.
        audits: Of the data.
        others: Finished runs without classes.
        unfinished: Names of run folders without a summary.
        files: Names of the table files beside the page.
        has_images: Whether images of errors were looked for.
    """

    test_sets: Sequence[TestSet]
    views: Sequence[SetView]
    studies: Sequence[StudyView]
    audits: Sequence[AuditCard]
    others: Sequence[FinishedRun]
    unfinished: Sequence[str]
    files: Sequence[str]
    has_images: bool


def render_page(content: PageContent) -> str:
    """Return the page; every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    entries = [entry for test_set in content.test_sets for entry in test_set.entries]
    kinds = [
        ("Real data", [view for view in content.views if not view.is_synthetic]),
        ("Synthetic data", [view for view in content.views if view.is_synthetic]),
    ]
    return environment.get_template("page.html.j2").render(
        content=content,
        kinds=[kind for kind in kinds if kind[1]],
        commands=[(entry.title, command_of(entry), entry.seeds) for entry in entries],
        environments=build_environments(content.test_sets),
        others=_show_others(content.others),
        synthetic_note=SYNTHETIC_NOTE,
    )


def _show_others(runs: Sequence[FinishedRun]) -> TextTable:
    """Return a row a run without classes, with the scores of its summary."""
    rows = []
    for run in runs:
        data, test = run.summary.get("data"), run.summary.get("test")
        name = str(data.get("name", "-")) if isinstance(data, dict) else "-"
        kind = "SYNTHETIC" if isinstance(data, dict) and data.get("synthetic") else "real"
        scores = [
            f"{key.replace('_', ' ')} {format_number(value)}"
            for key, value in (test.items() if isinstance(test, dict) else ())
            if isinstance(value, int | float)
        ]
        texts = (name_run(run), str(run.summary.get("seed", "-")), name, kind, ", ".join(scores))
        rows.append(tuple(show(text) for text in texts))
    columns = ("run", "seed", "data", "kind", "scores on its test split")
    return TextTable(columns, tuple(rows), len(columns))
