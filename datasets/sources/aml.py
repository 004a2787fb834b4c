"""AML-Cytomorphology_LMU: cells of people with acute myeloid leukaemia and without."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from datasets.published import (
    PublishedImage,
    PublishedSet,
    compare_counts,
    find_folder,
    list_class_images,
)

FOLDER: Final = "AML-Cytomorphology_LMU"
CODES: Final = {
    "BAS": "basophil",
    "EBO": "erythroblast",
    "EOS": "eosinophil",
    "KSC": "smudge",
    "LYA": "lymphocyte_atypical",
    "LYT": "lymphocyte_typical",
    "MMZ": "metamyelocyte",
    "MOB": "monoblast",
    "MON": "monocyte",
    "MYB": "myelocyte",
    "MYO": "myeloblast",
    "NGB": "neutrophil_band",
    "NGS": "neutrophil_segmented",
    "PMB": "promyelocyte_bilobed",
    "PMO": "promyelocyte",
}
PUBLISHED: Final = {
    "BAS": 79,
    "EBO": 78,
    "EOS": 424,
    "KSC": 15,
    "LYA": 11,
    "LYT": 3937,
    "MMZ": 15,
    "MOB": 26,
    "MON": 1789,
    "MYB": 42,
    "MYO": 3268,
    "NGB": 109,
    "NGS": 8484,
    "PMB": 18,
    "PMO": 70,
}
"""By the annotation file of The Cancer Imaging Archive, first of its three label columns."""


def read_aml(root: Path) -> PublishedSet:
    """Return the cells, classes named by what the folders' codes stand for.

    Card:
        What: 18,365 single cells, 400x400 TIFF, of 100 people with acute myeloid leukaemia and 100
            without; M8 scanner, 100x oil immersion.
        Classes: 15, by folder: BAS, EBO, EOS, KSC, LYA, LYT, MMZ, MOB, MON, MYB, MYO, NGB, NGS,
            PMB, PMO (79, 78, 424, 15, 11, 3,937, 15, 26, 1,789, 42, 3,268, 109, 8,484, 18, 70).
        Splits: none published; drawn here. The numbers in the file names are no patients.
            ``--labels-as blast`` and ``atypical`` give the paper's two binary tests.
        Licence: CC BY 3.0.
        Citation: Matek et al., Nature Machine Intelligence 1:538, 2019; The Cancer Imaging
            Archive, doi 10.7937/tcia.2019.36f5o9ld.
        Source: https://www.cancerimagingarchive.net/collection/aml-cytomorphology_lmu/
        Folders: ``AML-Cytomorphology_LMU/<CODE>/<CODE>_<number>.tiff``. `root` may also be that
            folder.

    Raises:
        DatasetError: None of the code folders is there.
    """
    folder = find_folder(root, FOLDER, "AML-Cytomorphology")
    layout = f"{FOLDER}/ with a folder a code ({', '.join(CODES)})"
    by_class, odd = list_class_images(folder, CODES, layout)
    counts = {code: len(by_class[label]) for code, label in CODES.items()}
    return PublishedSet(
        name="AML-Cytomorphology",
        classes=tuple(CODES.values()),
        images=tuple(
            PublishedImage(path.relative_to(folder).as_posix(), label, path)
            for label, paths in by_class.items()
            for path in paths
        ),
        root=folder,
        differences=(*compare_counts("", counts, PUBLISHED), *odd),
    )
