"""Turns a figure into pixels, stamped where the data are synthetic."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
DPI: Final = 110
SYNTHETIC_STAMP: Final = "SYNTHETIC DATA"
_MAX_LABEL_LENGTH: Final = 18


def to_pixels(figure: Figure, *, is_synthetic: bool = False) -> Picture:
    """Return the drawn figure as (H, W, 3)."""
    if is_synthetic:
        figure.text(
            0.5,
            0.5,
            SYNTHETIC_STAMP,
            ha="center",
            va="center",
            rotation=18,
            fontsize=min(44.0, 4.6 * figure.get_figwidth()),
            weight="bold",
            color="crimson",
            alpha=0.35,
            zorder=100,
        )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: Picture = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]
    return pixels


def escape(text: str) -> str:
    """Return text that matplotlib draws as it stands; a folder's name may hold a dollar sign."""
    return text.replace("$", r"\$")


def fit_label(name: str) -> str:
    """Return a class name, cut so that it fits beside a picture, as matplotlib draws it."""
    cut = f"{name[: _MAX_LABEL_LENGTH - 1]}…" if len(name) > _MAX_LABEL_LENGTH else name
    return escape(cut)
