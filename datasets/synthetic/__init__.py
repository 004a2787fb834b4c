"""Synthetic cells and tissue tiles, so that everything runs where no data are at hand."""

from datasets.synthetic.bundle import (
    SyntheticSizes,
    draw_cell_sheet,
    draw_tissue_sheet,
    ensure_synthetic_bundle,
    write_synthetic_bundle,
)
from datasets.synthetic.layouts import PublishedSizes
from datasets.synthetic.published import (
    SYNTHETIC_SOURCES,
    SyntheticSource,
    draw_published_sheet,
    ensure_synthetic_published,
    write_synthetic_published,
)
from datasets.synthetic.storage import is_synthetic_root

__all__ = [
    "SYNTHETIC_SOURCES",
    "PublishedSizes",
    "SyntheticSizes",
    "SyntheticSource",
    "draw_cell_sheet",
    "draw_published_sheet",
    "draw_tissue_sheet",
    "ensure_synthetic_bundle",
    "ensure_synthetic_published",
    "is_synthetic_root",
    "write_synthetic_bundle",
    "write_synthetic_published",
]
