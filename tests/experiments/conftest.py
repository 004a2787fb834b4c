"""Tiny sets in the layouts in which Raabin-WBC and PBC are published."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from datasets.taxonomy import WBC_CLASSES

_colour = count()


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = next(_colour)
    Image.new("RGB", (12, 10), (number % 256, number // 256, 99)).save(path)


@pytest.fixture
def raabin_root(tmp_path: Path) -> Path:
    for part, number in (("Train", 12), ("TestA", 4)):
        for name in WBC_CLASSES:
            for index in range(number):
                draw(tmp_path / "raabin" / part / name.capitalize() / f"{index}.png")
    for name in ("Lymphocyte", "Neutrophil"):
        draw(tmp_path / "raabin" / "TestB" / name / "0.png")
    return tmp_path / "raabin"


@pytest.fixture
def pbc_root(tmp_path: Path) -> Path:
    prefixes = {
        "BA": "basophil", "EO": "eosinophil", "ERB": "erythroblast", "MY": "ig",
        "LY": "lymphocyte", "MO": "monocyte", "SNE": "neutrophil", "PLATELET": "platelet",
    }  # fmt: skip
    for prefix, label in prefixes.items():
        for index in range(10):
            draw(tmp_path / "PBC_dataset_normal_DIB" / label / f"{prefix}_{index}.png")
    return tmp_path
