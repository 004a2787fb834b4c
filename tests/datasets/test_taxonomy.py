"""Counterparts of the sets' own classes."""

from __future__ import annotations

import pytest

from datasets.catalogue import PREPARED_SOURCES
from datasets.errors import DatasetError
from datasets.sources import aml, bloodmnist, kaggle_blood_cells, pbc
from datasets.taxonomy import (
    AML_ATYPICAL,
    AML_BLASTS,
    COUNTERPARTS,
    WBC_CLASSES,
    classes_of,
    find_counterpart,
)

CLASSES = {
    "raabin": WBC_CLASSES,
    "pbc": tuple(pbc.PUBLISHED),
    "bloodmnist": bloodmnist.CLASSES,
    "aml": tuple(aml.CODES.values()),
    "kaggle_blood_cells": kaggle_blood_cells.CLASSES,
    "kaggle_photographs": WBC_CLASSES,
    "bccd": WBC_CLASSES,
    "segmentation_wbc": WBC_CLASSES,
}


def test_every_cell_set_has_a_map():
    assert set(COUNTERPARTS["common"]) == set(PREPARED_SOURCES) - {"pcam"} == set(CLASSES)


@pytest.mark.parametrize("source", CLASSES)
def test_map_covers_each_class_and_leads_to_common_ones(source: str):
    assert set(COUNTERPARTS["common"][source]) == set(CLASSES[source])
    assert set(COUNTERPARTS["common"][source].values()) - {None} <= set(WBC_CLASSES)


def test_aml_maps_to_the_common_classes():
    counts = dict.fromkeys((*WBC_CLASSES, None), 0)
    for code, label in aml.CODES.items():
        counts[find_counterpart("aml", label, "common")] += aml.PUBLISHED[code]
    assert counts == {
        "basophil": 79, "eosinophil": 424, "lymphocyte": 3937, "monocyte": 1789,
        "neutrophil": 8484 + 109, None: 3543,
    }  # fmt: skip


def test_blast_and_atypical_follow_the_papers_definition():
    assert {"myeloblast", "monoblast"} == AML_BLASTS
    codes = {code for code, label in aml.CODES.items() if label in AML_ATYPICAL}
    assert codes == {"MYO", "MOB", "MYB", "MMZ", "PMO", "PMB", "EBO", "LYA"}
    assert find_counterpart("aml", "myeloblast", "blast") == "blast"
    assert find_counterpart("aml", "promyelocyte", "blast") == "other"
    assert find_counterpart("aml", "promyelocyte", "atypical") == "atypical"
    assert find_counterpart("aml", "smudge", "atypical") == "other"
    assert classes_of("blast") == ("other", "blast")
    assert classes_of("common") == WBC_CLASSES


def test_undefined_maps_are_refused():
    with pytest.raises(DatasetError, match="--labels-as blast is defined for the sources aml, not"):
        find_counterpart("pbc", "ig", "blast")
    with pytest.raises(DatasetError, match="pbc has no class 'blast'; known: basophil"):
        find_counterpart("pbc", "blast", "common")
