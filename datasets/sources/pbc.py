"""Peripheral blood cells of the Hospital Clinic of Barcelona (PBC, Acevedo)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from datasets.published import (
    PublishedImage,
    PublishedSet,
    compare_counts,
    find_folder,
    list_class_images,
)

FOLDER: Final = "PBC_dataset_normal_DIB"
PUBLISHED: Final = {
    "basophil": 1218,
    "eosinophil": 3117,
    "erythroblast": 1551,
    "ig": 2895,
    "lymphocyte": 1214,
    "monocyte": 1420,
    "neutrophil": 3329,
    "platelet": 2348,
}
"""By the data article; the labels of BloodMNIST, made of the same images, count the same."""
SUBTYPES: Final = {
    "BA": ("basophil", "basophil"),
    "EO": ("eosinophil", "eosinophil"),
    "ERB": ("erythroblast", "erythroblast"),
    "IG": ("ig", "immature granulocyte"),
    "MMY": ("ig", "metamyelocyte"),
    "MY": ("ig", "myelocyte"),
    "PMY": ("ig", "promyelocyte"),
    "LY": ("lymphocyte", "lymphocyte"),
    "MO": ("monocyte", "monocyte"),
    "BNE": ("neutrophil", "band neutrophil"),
    "SNE": ("neutrophil", "segmented neutrophil"),
    "NEUTROPHIL": ("neutrophil", "neutrophil"),
    "PLATELET": ("platelet", "platelet"),
}
"""By file-name prefix: the class whose folder holds it, and the subtype."""
_PREFIX: Final = re.compile(r"^([A-Za-z]+)_\d+$")


def read_pbc(root: Path) -> PublishedSet:
    """Return the cells, with the subtype that the file name tells.

    Card:
        What: 17,092 single normal cells, mostly 360x363 JPEG, May-Gruenwald-Giemsa stain,
            CellaVision DM96, of people without infection, haematologic or oncologic disease.
        Classes: basophil 1,218, eosinophil 3,117, erythroblast 1,551, ig (immature granulocytes:
            MY, MMY, PMY, IG) 2,895, lymphocyte 1,214, monocyte 1,420, neutrophil (BNE, SNE,
            NEUTROPHIL) 3,329, platelet 2,348. The prefix of the file name is the subtype.
        Splits: none published; drawn here. No patients are published.
        Licence: CC BY 4.0.
        Citation: Acevedo et al., Data in Brief 30:105474, 2020.
        Source: https://data.mendeley.com/datasets/snkd93bnjr/1
        Folders: ``PBC_dataset_normal_DIB/<class>/<PREFIX>_<number>.jpg``. `root` may also be that
            folder. Hidden files (the set holds a stray ``.DS_169665.jpg``) are no images.

    Raises:
        DatasetError: None of the class folders is there.
    """
    folder = find_folder(root, FOLDER)
    layout = f"{FOLDER}/ with the folders {', '.join(PUBLISHED)}"
    by_class, differences = list_class_images(folder, {name: name for name in PUBLISHED}, layout)
    images = []
    for label, paths in by_class.items():
        for path in paths:
            subtype, odd = _find_subtype(path, label)
            differences += odd
            name = path.relative_to(folder).as_posix()
            images.append(PublishedImage(name, label, path, subtype=subtype))
    counts = {label: len(paths) for label, paths in by_class.items()}
    return PublishedSet(
        name="PBC",
        classes=tuple(PUBLISHED),
        images=tuple(images),
        root=folder,
        differences=(*compare_counts("", counts, PUBLISHED), *differences),
    )


def _find_subtype(path: Path, label: str) -> tuple[str, list[str]]:
    """Return the subtype, empty if the name does not tell, and what is odd about the name."""
    match = _PREFIX.match(path.stem)
    prefix = match.group(1).upper() if match else ""
    if prefix not in SUBTYPES:
        return "", [f"{label}/{path.name}: no published prefix, so no subtype"]
    expected, subtype = SUBTYPES[prefix]
    odd = f"{label}/{path.name}: the prefix {prefix} belongs to {expected}"
    return subtype, [odd] if expected != label else []
