"""What the page shows of a test set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from experiments.reporting.html.cards import build_data_card
from experiments.reporting.html.embedding import EMBEDDING_FILE, read_embedding
from experiments.reporting.html.entries import Entry, TestSet
from experiments.reporting.html.errors import MAX_ERRORS, Thumbnails, rank_errors
from experiments.reporting.html.figures import (
    CURVE_METRICS,
    MAX_CURVES,
    TRAINING_METRICS,
    draw_embedding,
    draw_learning_curve,
    draw_reliability,
    draw_roc,
    draw_training,
    has_learning_curve,
)
from experiments.reporting.html.parts import (
    ConfusionView,
    ErrorsView,
    ErrorView,
    FigureView,
    SetView,
    to_uri,
    view_figure,
)
from experiments.reporting.html.scores import (
    build_classes,
    build_pairs,
    build_results,
    find_mean,
)
from experiments.reporting.html.text_tables import (
    TextTable,
    format_number,
    show_classes,
    show_pairs,
    show_results,
)
from experiments.reporting.html.verdict import describe_test_set
from experiments.reporting.prediction_tables import show


def build_view(test_set: TestSet, number: int, thumbnails: Thumbnails | None) -> SetView:
    """Return what the page shows of a test set.

    Args:
        test_set: The test set.
        number: Its place on the page.
        thumbnails: Finds images of errors; None: they are left out.
    """
    results = build_results(test_set)
    pairs = build_pairs(test_set)
    classes = build_classes(test_set)
    shown = show_classes(classes)
    by_entry = [
        (
            entry.title,
            TextTable(
                shown.columns[2:],
                tuple(row[2:] for row in shown.rows if row[0] == str(entry.number)),
                1,
            ),
        )
        for entry in test_set.entries
    ]
    return SetView(
        anchor=f"set-{number}",
        title=test_set.title,
        is_synthetic=test_set.is_synthetic,
        extent=test_set.extent,
        verdict=describe_test_set(test_set, results, pairs),
        numbers={"results": results, "pairs": pairs, "classes": classes},
        results=show_results(results),
        pairs=show_pairs(pairs),
        learning=tuple(_view_learning(test_set, results)),
        confusions=tuple(_view_confusion(entry, test_set) for entry in test_set.entries),
        classes=tuple(by_entry),
        training=tuple(_view_training(test_set.entries)),
        reliability=tuple(_view_reliability(test_set)),
        calibration=_show_calibration(test_set.entries),
        rocs=tuple(_view_rocs(test_set, results)),
        errors=tuple(_view_errors(entry, thumbnails) for entry in test_set.entries),
        embeddings=tuple(_view_embeddings(test_set.entries)),
        embedding_file=EMBEDDING_FILE,
        card=build_data_card(test_set),
    )


def _view_learning(test_set: TestSet, results: pd.DataFrame) -> Iterator[FigureView]:
    if has_learning_curve(test_set):
        caption = (
            "Test accuracy and balanced accuracy (0 to 1) by the share of training labels used "
            f"(%, logarithmic). Points are means over seeds, bars 95 % intervals over groups; "
            f"{test_set.extent}."
        )
        pictures = {
            f"Learning curve: {metric.replace('_', ' ')}": draw_learning_curve(
                test_set, results, metric
            )
            for metric in CURVE_METRICS
        }
        yield view_figure(pictures, caption)


def _view_confusion(entry: Entry, test_set: TestSet) -> ConfusionView:
    counts = entry.confusions(test_set.classes).sum(axis=(0, 1))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = tuple(map(show, test_set.classes))
    rows = tuple(
        (name, tuple((f"{n:,}", f"{s:.3f}") for n, s in zip(of_row, of_share, strict=True)))
        for name, of_row, of_share in zip(names, counts, shares, strict=True)
    )
    seeds = len(entry.runs)
    times = f", counted for each of {seeds} seeds" if seeds > 1 else ""
    caption = f"Counts of images{times}; shade: share of the row. {test_set.extent}."
    return ConfusionView(entry.title, names, rows, caption)


def _view_training(entries: Sequence[Entry]) -> Iterator[FigureView]:
    for entry in entries:
        if entry.test is not None or not (entry.first.path / "metrics.csv").is_file():
            continue
        splits = entry.first.summary["splits"]
        counts = [
            f"{sum(splits[name]['images'].values()):,} {word} images"
            for name, word in (("train", "training"), ("val", "validation"))
            if name in splits
        ]
        seeds = f"{len(entry.runs)} seeds, a line each" if len(entry.runs) > 1 else "one seed"
        caption = (
            f"{entry.title}: mean cross-entropy (nats) and balanced accuracy (0 to 1) by epoch. "
            f"n = {' and '.join(counts)}; {seeds}; dots: the models that were kept."
        )
        pictures = {
            f"{entry.title}: {metric.replace('_', ' ')} by epoch": draw_training(entry, metric)
            for metric in TRAINING_METRICS
        }
        yield view_figure(pictures, caption)


def _view_reliability(test_set: TestSet) -> Iterator[FigureView]:
    for entry in test_set.entries:
        seeds = f", {len(entry.runs)} seeds pooled" if len(entry.runs) > 1 else ""
        caption = (
            f"{entry.title}: share named rightly by the probability of the named class (both 0 to "
            f"1), 95 % intervals over groups. {test_set.extent}{seeds}."
        )
        picture = draw_reliability(entry, test_set.classes)
        yield view_figure({f"Reliability of {entry.title}": picture}, caption)


def _show_calibration(entries: Sequence[Entry]) -> TextTable:
    columns = ("model", "expected calibration error", "Brier score", "loss (nats)")
    names = ("expected_calibration_error", "brier", "loss")
    rows = [
        (entry.title, *(format_number(find_mean(entry, name)) for name in names))
        for entry in entries
    ]
    return TextTable(columns, tuple(rows), 1)


def _view_rocs(test_set: TestSet, results: pd.DataFrame) -> Iterator[FigureView]:
    held = test_set.entries[0].frames[0]["label"].nunique()
    if held < 2:
        return
    for percent in sorted({entry.label_percent for entry in test_set.entries}):
        entries = [entry for entry in test_set.entries if entry.label_percent == percent]
        for start in range(0, len(entries), MAX_CURVES):
            caption = (
                f"ROC curves with {percent} % of the labels, mean of {held} one-vs-rest curves and "
                f"of the seeds; areas with 95 % intervals over groups. {test_set.extent}."
            )
            picture = draw_roc(entries[start : start + MAX_CURVES], results)
            yield view_figure({f"ROC curves with {percent} % of the labels": picture}, caption)


def _view_errors(entry: Entry, thumbnails: Thumbnails | None) -> ErrorsView:
    ranked = rank_errors(entry)
    seeds = len(entry.runs)
    errors = []
    for error in ranked[:MAX_ERRORS]:
        picture = thumbnails.find(entry.first, error.sample_id) if thumbnails else None
        wrong = f", misread by {error.num_wrong} of {seeds} seeds" if seeds > 1 else ""
        errors.append(
            ErrorView(
                to_uri(picture, "jpeg") if picture else "",
                show(error.sample_id),
                show(f"{error.label}, read as {error.pred}: p = {error.prob:.3f}{wrong}"),
            )
        )
    number = len(entry.frames[0])
    who = f"at least one of {seeds} seeds misreads" if seeds > 1 else "are misread"
    caption = f"{len(errors)} of {len(ranked):,} images that {who}; n = {number:,} test images."
    return ErrorsView(entry.title, caption, tuple(errors))


def _view_embeddings(entries: Sequence[Entry]) -> Iterator[FigureView]:
    """Yield the map of the first seed of each entry that has one."""
    for entry in entries:
        for run in entry.runs if entry.test is None else ():
            table = read_embedding(run)
            if table is None:
                continue
            number = table["sample_id"].nunique()
            caption = (
                f"{entry.title}, seed {run.summary['seed']}: features of {number:,} images, a "
                "point each; colour and marker: class. Near points are alike to the model; long "
                "distances in a t-SNE say little."
            )
            picture = draw_embedding(table, is_synthetic=run.is_synthetic)
            yield view_figure({f"Map of the features of {entry.title}": picture}, caption)
            break
