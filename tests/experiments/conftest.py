"""Tiny sets in the layouts in which Raabin-WBC, PBC and the Kaggle cells are published."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import protocols
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


@pytest.fixture
def kaggle_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photographs of each class in TRAIN and two in TEST, each with three copies.

    A copy's file name begins with its photograph, which stands in for the search by pixels.
    """
    root = tmp_path / "kaggle"
    generator = np.random.default_rng(0)
    for part, number in (("TRAIN", 4), ("TEST", 2), ("TEST_SIMPLE", 2)):
        for label, name in enumerate(("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")):
            folder = root / "dataset2-master" / "images" / part / name
            folder.mkdir(parents=True)
            for index in range(3 * number):
                pixels = generator.integers(0, 60, (12, 16, 3), dtype=np.uint8) + 45 * label
                photograph = f"{part}{name}{index // 3}".replace("_SIMPLE", "")
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{photograph}_{index}.jpeg")

    def find_groups(paths: list[Path], *, level: str) -> list[str]:
        return [path.name.split("_")[0] for path in paths]

    monkeypatch.setattr(protocols, "find_groups", find_groups)
    return root
