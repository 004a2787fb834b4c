"""Augmented copies of drawn photographs in the layout of the Kaggle blood cells.

TRAIN and TEST hold copies, TEST_SIMPLE the photographs behind TEST; TRAIN shares none with them.
"""

# W width of a photograph in pixels, H = 3 W / 4 its height

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.synthetic.copies import CopyRecipe, draw_copy, draw_counts
from datasets.synthetic.layouts import PublishedSizes
from datasets.synthetic.photographs import draw_photograph
from datasets.synthetic.storage import generator_of

IMAGE_ROOT: Final = "dataset2-master/dataset2-master/images"
SMEAR_WIDTH: Final = 320
PHOTOGRAPHS: Final = MappingProxyType(
    {
        "TRAIN": {"eosinophil": 10, "lymphocyte": 7, "monocyte": 6, "neutrophil": 14},
        "TEST": {"eosinophil": 5, "lymphocyte": 4, "monocyte": 4, "neutrophil": 7},
    }
)
"""Number of photographs at scale 1."""
COPIES: Final = MappingProxyType({"TRAIN": 60, "TEST": 24})
"""Number of copies of each class at scale 1, however few its photographs."""


@dataclass(frozen=True)
class SmearImage:
    """One image of the set.

    Attributes:
        name: Path below `IMAGE_ROOT`; it does not tell the photograph.
        pixels: (H, W, 3).
        photograph: Name of the photograph that it shows.
    """

    name: str
    pixels: NDArray[np.uint8]
    photograph: str


def count_smear_images(sizes: PublishedSizes) -> int:
    """Return how many images `draw_smear_images` yields."""
    copies = sum(sizes.count(number) * len(PHOTOGRAPHS[part]) for part, number in COPIES.items())
    return copies + sum(sizes.count(number) for number in PHOTOGRAPHS["TEST"].values())


def draw_smear_images(sizes: PublishedSizes) -> Iterator[SmearImage]:
    """Yield every image of the set; the same sizes give the same images."""
    for part, by_label in PHOTOGRAPHS.items():
        for label, number in by_label.items():
            folder = f"{part}/{label.upper()}"
            num_photographs, num_copies = sizes.count(number), sizes.count(COPIES[part])
            rng = generator_of(sizes.seed, f"kaggle/{folder}", 0)
            counts = draw_counts(num_photographs, num_copies, CopyRecipe.most_copies, rng)
            names = _draw_names(num_copies, rng)
            simple_names = _draw_names(num_photographs, rng)
            for index, count in enumerate(counts):
                photograph = f"{folder.lower()}-{index:03d}"
                original, *copies = draw_siblings(folder, label, index, count, sizes)
                if part == "TEST":
                    name = f"TEST_SIMPLE/{label.upper()}/{next(simple_names)}"
                    yield SmearImage(name, original, photograph)
                for copy in copies:
                    yield SmearImage(f"{folder}/{next(names)}", copy, photograph)


def draw_siblings(
    folder: str, label: str, index: int, num_copies: int, sizes: PublishedSizes
) -> list[NDArray[np.uint8]]:
    """Return photograph number `index` of `folder` and `num_copies` copies, each (H, W, 3)."""
    width = sizes.width or SMEAR_WIDTH
    recipe = CopyRecipe(
        size=(width, width * 3 // 4), max_brightness=0.0, fills=("constant",), orders=(0,)
    )
    kind = f"kaggle/{folder}/{index}"
    original = draw_photograph(label, width, generator_of(sizes.seed, kind, 0))
    image = Image.fromarray(original)
    copies = [
        draw_copy(image, recipe, generator_of(sizes.seed, kind, 1 + copy))
        for copy in range(num_copies)
    ]
    return [original, *copies]


def _draw_names(number: int, rng: np.random.Generator) -> Iterator[str]:
    """Return `number` file names as Keras gave them: a running and a random number."""
    return iter([f"_{index}_{rng.integers(10_000)}.jpeg" for index in rng.permutation(number)])
