"""Synthetic cells and tissue tiles, so that everything runs where no data are at hand."""

from datasets.synthetic.bundle import (
    SyntheticSizes,
    draw_cell_sheet,
    draw_tissue_sheet,
    ensure_synthetic_bundle,
    write_synthetic_bundle,
)
from datasets.synthetic.storage import is_synthetic_root

__all__ = [
    "SyntheticSizes",
    "draw_cell_sheet",
    "draw_tissue_sheet",
    "ensure_synthetic_bundle",
    "is_synthetic_root",
    "write_synthetic_bundle",
]
