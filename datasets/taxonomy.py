"""The class names that the project shares, how the sets' own classes map to them, label shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from datasets.errors import DatasetError

WBC_CLASSES: Final = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
TILE_CLASSES: Final = ("normal", "tumor")

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

LabelPercent = Literal[1, 10, 50, 100]
LABEL_PERCENTS: Final[tuple[LabelPercent, ...]] = (1, 10, 50, 100)

Scheme = Literal["common", "blast", "atypical"]
"""common: the five classes. blast, atypical: the two binary tests of Matek et al. (2019)."""

AML_BLASTS: Final = frozenset({"myeloblast", "monoblast"})
AML_ATYPICAL: Final = AML_BLASTS | {
    "myelocyte",
    "metamyelocyte",
    "promyelocyte",
    "promyelocyte_bilobed",
    "erythroblast",
    "lymphocyte_atypical",
}

_SAME: Final[dict[str, str | None]] = {name: name for name in WBC_CLASSES}
_PBC: Final[dict[str, str | None]] = {**_SAME, "erythroblast": None, "ig": None, "platelet": None}
_AML: Final[dict[str, str | None]] = {
    "basophil": "basophil",
    "eosinophil": "eosinophil",
    "erythroblast": None,
    # A reactive or malignant cell is not what the other sets call a lymphocyte.
    "lymphocyte_atypical": None,
    "lymphocyte_typical": "lymphocyte",
    "metamyelocyte": None,
    "monoblast": None,
    "monocyte": "monocyte",
    "myeloblast": None,
    "myelocyte": None,
    # The other sets count band forms among the neutrophils.
    "neutrophil_band": "neutrophil",
    "neutrophil_segmented": "neutrophil",
    "promyelocyte": None,
    "promyelocyte_bilobed": None,
    "smudge": None,
}

COUNTERPARTS: Final[Mapping[Scheme, Mapping[str, Mapping[str, str | None]]]] = {
    "common": {
        "raabin": _SAME,
        "pbc": _PBC,
        "bloodmnist": _PBC,
        "aml": _AML,
        "kaggle_blood_cells": {name: name for name in WBC_CLASSES if name != "basophil"},
        "kaggle_photographs": _SAME,
        "bccd": _SAME,
        "segmentation_wbc": _SAME,
    },
    "blast": {"aml": {name: "blast" if name in AML_BLASTS else "other" for name in _AML}},
    "atypical": {"aml": {name: "atypical" if name in AML_ATYPICAL else "other" for name in _AML}},
}
"""By scheme and source: the counterpart of each published class; None where there is none."""


def classes_of(scheme: Scheme) -> tuple[str, ...]:
    """Return the classes of `scheme` in the order of the label indices."""
    return WBC_CLASSES if scheme == "common" else ("other", scheme)


def find_counterpart(source: str, label: str, scheme: Scheme) -> str | None:
    """Return what `label` of the set `source` is called in `scheme`; None if it has no counterpart.

    Raises:
        DatasetError: The scheme says nothing of this source or of this label.
    """
    of_source = COUNTERPARTS[scheme].get(source)
    if of_source is None:
        able = ", ".join(COUNTERPARTS[scheme])
        raise DatasetError(
            f"--labels-as {scheme} is defined for the sources {able}, not for {source}."
        )
    if label not in of_source:
        raise DatasetError(
            f"--labels-as {scheme}: {source} has no class {label!r}; known: {', '.join(of_source)}."
        )
    return of_source[label]
