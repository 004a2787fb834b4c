"""Writes a report of run folders: the page and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from datasets.files import write_whole
from experiments.reporting.html.cards import read_audit
from experiments.reporting.html.entries import find_test_sets, find_unfinished
from experiments.reporting.html.errors import Thumbnails
from experiments.reporting.html.page import PageContent, render_page
from experiments.reporting.html.parts import SetView
from experiments.reporting.html.studies import view_studies
from experiments.reporting.html.text_tables import (
    ENDINGS,
    TABLE_NAMES,
    TextTable,
    show_classes,
    show_pairs,
    show_results,
    write_tables,
)
from experiments.reporting.html.view import build_view
from experiments.reporting.load_runs import find_finished

PAGE_NAME: Final = "index.html"

_SYNTHETIC_PREFIX: Final = "synthetic-"
_SHOW: Final = {"results": show_results, "pairs": show_pairs, "classes": show_classes}


def write_report(
    roots: Sequence[Path], out: Path, audits: Sequence[Path] = (), *, has_images: bool = True
) -> Path:
    """Write ``index.html`` and the tables ``results``, ``pairs`` and ``classes`` into `out`.

    Tables of synthetic runs have files of their own, ``synthetic-...``. Tables that an earlier
    report left there and that this one has no rows for are removed.

    Args:
        roots: Run folders, or folders that hold them.
        out: Where to.
        audits: Leakage audits to show.
        has_images: Whether thumbnails of misread images are put into the page.

    Returns:
        The path of the page.

    Raises:
        ValueError: There is no finished classifier, a file is damaged, `out` is a file or a run
            folder, or one of `audits` is none.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder.")
    if (out / "summary.json").exists() or (out / "config.json").exists():
        raise ValueError(f"--out {out} is a run folder, whose files would be lost. Pass another.")
    missing = [str(root) for root in roots if not root.is_dir()]
    if missing:
        raise ValueError(f"No such folder: {', '.join(missing)}. Pass folders of finished runs.")
    cards = [read_audit(path) for path in audits]
    finished = list({run.path.resolve(): run for run in find_finished(roots)}.values())
    classifiers = [run for run in finished if run.is_classifier]
    if not classifiers:
        searched = ", ".join(map(str, roots))
        raise ValueError(
            f"No finished classifier run below {searched}: it needs summary.json and "
            "predictions.csv. Finish one with --resume, or pass other folders."
        )
    test_sets = find_test_sets(classifiers)
    thumbnails = Thumbnails() if has_images else None
    views = [build_view(found, place, thumbnails) for place, found in enumerate(test_sets, 1)]
    files = _write_tables(out, views)
    page = render_page(
        PageContent(
            test_sets=test_sets,
            views=views,
            studies=view_studies(classifiers),
            audits=cards,
            others=sorted(
                (run for run in finished if not run.is_classifier), key=lambda run: str(run.path)
            ),
            unfinished=find_unfinished(roots),
            files=files,
            has_images=has_images,
        )
    )
    with write_whole(out / PAGE_NAME) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="")
    return out / PAGE_NAME


def _write_tables(out: Path, views: Sequence[SetView]) -> list[str]:
    """Write the tables of real and of synthetic test sets, each kind in files of its own."""
    written: list[str] = []
    for prefix in ("", _SYNTHETIC_PREFIX):
        of_kind = [view for view in views if view.is_synthetic == bool(prefix)]
        tables: list[tuple[str, TextTable, pd.DataFrame]] = []
        for name in TABLE_NAMES:
            parts = [view.numbers[name] for view in of_kind if len(view.numbers[name])]
            if parts:
                numbers = pd.concat(parts, ignore_index=True)
                tables.append((name, _SHOW[name](numbers), numbers))
        written += write_tables(out, prefix, tables)
    for prefix in ("", _SYNTHETIC_PREFIX):
        for name in (f"{prefix}{table}{ending}" for table in TABLE_NAMES for ending in ENDINGS):
            if name not in written:
                (out / name).unlink(missing_ok=True)
    return written
