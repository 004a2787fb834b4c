"""Areas of nucleus and cytoplasm by class, as a table and as text."""

from __future__ import annotations

import pandas as pd

from datasets.taxonomy import WBC_CLASSES
from experiments.reporting.tables import SYNTHETIC_NOTE


def summarise_classes(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a row a class; quartiles are of the cells that have a nucleus and cytoplasm."""
    rows = []
    for name in WBC_CLASSES:
        of_class = cells[cells["class"] == name]
        both = of_class[(of_class["nucleus_pixels"] > 0) & (of_class["cytoplasm_pixels"] > 0)]
        quartiles = both["nucleus_to_cytoplasm"].quantile([0.25, 0.5, 0.75]).tolist()
        rows.append(
            {
                "class": name,
                "cells": len(of_class),
                "without_nucleus": int((of_class["nucleus_pixels"] == 0).sum()),
                "without_cytoplasm": int((of_class["cytoplasm_pixels"] == 0).sum()),
                "ratio_q25": quartiles[0],
                "ratio_median": quartiles[1],
                "ratio_q75": quartiles[2],
                "nucleus_fraction_median": both["nucleus_fraction"].median(),
                "suspicious": int((of_class["problem"] != "").sum()),
            }
        )
    return pd.DataFrame(rows)


def format_classes(cells: pd.DataFrame, classes: pd.DataFrame, *, is_synthetic: bool) -> str:
    """Return the classes, and the share of suspicious masks, as text of at most 80 columns."""
    lines = [SYNTHETIC_NOTE] if is_synthetic else []
    lines += [
        "Nucleus to cytoplasm, ratio of the areas",
        f"{'class':12}{'cells':>7}{'no nucleus':>12}{'no cytoplasm':>14}{'median':>8}"
        f"{'quartiles':>15}{'suspicious':>12}",
    ]
    for row in classes.to_dict("records"):
        between = f"{row['ratio_q25']:.2f} to {row['ratio_q75']:.2f}"
        lines.append(
            f"{row['class']:12}{row['cells']:7d}{row['without_nucleus']:12d}"
            f"{row['without_cytoplasm']:14d}{row['ratio_median']:8.2f}{between:>15}"
            f"{row['suspicious']:12d}"
        )
    bad = cells[cells["problem"] != ""]
    lines.append(
        f"{len(bad)} of {len(cells)} masks ({len(bad) / len(cells):.1%}) are suspicious; "
        f"{int((cells['stray_pixels'] > 0).sum())} have stray levels."
    )
    lines += [f"  {row['cell_id']}: {row['problem']}" for row in bad.head(8).to_dict("records")]
    return "\n".join(lines)
