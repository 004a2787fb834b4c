"""Reads where a run's images lie on a map of its features."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from experiments.reporting.load_runs import FinishedRun

EMBEDDING_FILE: Final = "embedding.csv"
COLUMNS: Final = ("sample_id", "label", "method", "x", "y")
"""``method`` says how the features were laid out, e.g. ``PCA``: a map each."""

_MAX_MAPS: Final = 3


def read_embedding(run: FinishedRun) -> pd.DataFrame | None:
    """Return the rows of the run's ``embedding.csv``; None where it has no such file.

    Raises:
        ValueError: The file is damaged.
    """
    path = run.path / EMBEDDING_FILE
    if not path.is_file():
        return None
    try:
        types = {"sample_id": str, "label": str, "method": str}
        table = pd.read_csv(path, dtype=types, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not set(COLUMNS) <= set(table.columns) or table.empty:
        raise ValueError(
            f"{path} is no map of features: expected rows with {', '.join(COLUMNS)}; found "
            f"{len(table)} rows with {', '.join(table.columns)}."
        )
    places = table[["x", "y"]].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(places.to_numpy(float)).all():
        raise ValueError(f"{path} holds coordinates that are no finite numbers; it is damaged.")
    if table["method"].nunique() > _MAX_MAPS:
        raise ValueError(f"{path} holds more than {_MAX_MAPS} methods; keep those to be shown.")
    return table.assign(**places)
