"""What the page is made of: texts and pictures ready for the template."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from experiments.reporting.canvas import Picture
from experiments.reporting.html.cards import DataCard
from experiments.reporting.html.text_tables import TextTable

_PIXELS_PER_UNIT = 150 / 96


@dataclass(frozen=True)
class ImageView:
    """A picture as a data URI, with its size in CSS pixels, and in words."""

    uri: str
    width: int
    height: int
    text: str


@dataclass(frozen=True)
class FigureView:
    """Pictures above a caption; on a narrow page they stand one below the other."""

    images: tuple[ImageView, ...]
    caption: str


@dataclass(frozen=True)
class ConfusionView:
    """A confusion matrix: rows are a true class each with (count, share of the row) by cell."""

    title: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    caption: str


@dataclass(frozen=True)
class ErrorView:
    """A misread image; ``uri`` is empty where it could not be found."""

    uri: str
    sample_id: str
    caption: str


@dataclass(frozen=True)
class ErrorsView:
    """The most confident errors of an entry."""

    title: str
    caption: str
    errors: tuple[ErrorView, ...]


@dataclass(frozen=True)
class SetView:
    """A test set on the page; `numbers` are its tables of numbers, by name."""

    anchor: str
    title: str
    is_synthetic: bool
    extent: str
    verdict: tuple[str, ...]
    numbers: dict[str, pd.DataFrame]
    results: TextTable
    pairs: TextTable
    learning: tuple[FigureView, ...]
    confusions: tuple[ConfusionView, ...]
    classes: tuple[tuple[str, TextTable], ...]
    training: tuple[FigureView, ...]
    reliability: tuple[FigureView, ...]
    calibration: TextTable
    rocs: tuple[FigureView, ...]
    errors: tuple[ErrorsView, ...]
    embeddings: tuple[FigureView, ...]
    embedding_file: str
    card: DataCard


def view_figure(pictures: Mapping[str, Picture], caption: str) -> FigureView:
    """Return pictures, by what they show, above a caption."""
    images = []
    for text, picture in pictures.items():
        buffer = io.BytesIO()
        # A palette is enough for lines and text, and makes a third of the size.
        Image.fromarray(picture).quantize(255).save(buffer, format="PNG", optimize=True)
        height, width = (round(side / _PIXELS_PER_UNIT) for side in picture.shape[:2])
        images.append(ImageView(to_uri(buffer.getvalue(), "png"), width, height, text))
    return FigureView(tuple(images), caption)


def to_uri(content: bytes, kind: str) -> str:
    """Return a file as a data URI; `kind` is that of the image, e.g. ``png``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
