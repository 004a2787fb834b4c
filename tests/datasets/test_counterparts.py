"""Classes of a run among the common ones."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.counterparts import find_common_class, merge_classes
from datasets.errors import DatasetError
from datasets.sources import aml, pbc
from datasets.taxonomy import COUNTERPARTS, WBC_CLASSES


def test_a_class_name_means_the_same_in_every_set():
    of_label: dict[str, set] = {}
    for of_source in COUNTERPARTS["common"].values():
        for label, counterpart in of_source.items():
            of_label.setdefault(label, set()).add(counterpart)
    assert {label: found for label, found in of_label.items() if len(found) > 1} == {}
    assert all(find_common_class(label) == found.pop() for label, found in of_label.items())


def test_classes_without_counterpart_keep_their_names_behind_the_common_ones():
    merged = merge_classes(tuple(pbc.PUBLISHED))
    assert merged.common == WBC_CLASSES
    assert merged.unmatched == ("erythroblast", "ig", "platelet")


def test_probabilities_of_kinds_of_one_common_class_are_summed():
    classes = tuple(aml.CODES.values())
    merged = merge_classes(classes)
    probs = np.random.default_rng(0).dirichlet(np.ones(len(classes)), size=7)
    found = merged.merge(probs)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    neutrophil = found[:, merged.classes.index("neutrophil")]
    bands = probs[:, classes.index("neutrophil_band")]
    np.testing.assert_allclose(neutrophil, bands + probs[:, classes.index("neutrophil_segmented")])
    myeloblast = found[:, merged.classes.index("myeloblast")]
    np.testing.assert_array_equal(myeloblast, probs[:, classes.index("myeloblast")])


def test_a_fifth_output_and_missing_classes_are_told():
    merged = merge_classes(("neutrophil", "eosinophil", "other"))
    assert merged.common == ("eosinophil", "neutrophil")
    assert merged.classes == ("eosinophil", "neutrophil", "other")
    np.testing.assert_array_equal(merged.merge(np.array([[0.2, 0.3, 0.5]])), [[0.3, 0.2, 0.5]])


def test_a_run_without_any_common_class_is_refused():
    with pytest.raises(DatasetError, match=r"None of the run's classes \(other, blast\)"):
        merge_classes(("other", "blast"))
