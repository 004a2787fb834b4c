"""The class names that the project shares, and the shares of labels that it trains with."""

from __future__ import annotations

from typing import Final, Literal

WBC_CLASSES: Final = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
TILE_CLASSES: Final = ("normal", "tumor")

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

LabelPercent = Literal[1, 10, 50, 100]
LABEL_PERCENTS: Final[tuple[LabelPercent, ...]] = (1, 10, 50, 100)
