"""Which cells lie in which folder of the published sets of single cells, and how they look there.

Numbers keep the order, not the size, of the published ones: classes are as uneven as a set of a
few hundred pictures allows while the rarest still fills three splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from datasets.errors import DatasetError
from datasets.synthetic.canvas import USUAL_MICROSCOPE, Microscope
from datasets.taxonomy import WBC_CLASSES

_FEWEST: Final = 3
_LARGEST_SCALE: Final = 1000
_SMALLEST_WIDTH: Final = 32


@dataclass(frozen=True)
class PublishedSizes:
    """How large a synthetic set is.

    Attributes:
        scale: Times the layout's own numbers. No folder gets fewer than three images, or the
            layout's own number if that is smaller, so that each of three splits can have one.
        width: Of an image in pixels; None takes the layout's own.
        seed: Of the images.
    """

    scale: float = 1.0
    width: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            DatasetError: Saying what is too small or too large.
        """
        if not 0 < self.scale <= _LARGEST_SCALE:
            raise DatasetError(
                f"The scale of a synthetic set is above 0 and at most {_LARGEST_SCALE}, not "
                f"{self.scale}."
            )
        if self.width is not None and self.width < _SMALLEST_WIDTH:
            raise DatasetError(
                f"A synthetic image is at least {_SMALLEST_WIDTH} pixels wide, not {self.width}."
            )

    def count(self, number: int) -> int:
        """Return how many there are of what the layout has `number` of."""
        return max(min(number, _FEWEST), round(number * self.scale))


@dataclass(frozen=True)
class CellFolder:
    """One folder's worth of cells.

    Attributes:
        folder: Below the layout's root.
        file_name: With the number of the cell as its field.
        kinds: Kinds of cell, drawn in turn.
        number: Of cells at scale 1.
        microscope: What they are photographed with.
    """

    folder: str
    file_name: str
    kinds: tuple[str, ...]
    number: int
    microscope: Microscope = USUAL_MICROSCOPE


@dataclass(frozen=True)
class CellLayout:
    """A published set of single cells.

    Attributes:
        root: Folder that holds the folders; empty for the set's own root.
        folders: Of the cells; several may share one folder.
        size: (width, height) of a picture in pixels.
    """

    root: str
    folders: tuple[CellFolder, ...]
    size: tuple[int, int]

    def scale_to(self, width: int | None) -> tuple[int, int]:
        """Return (width, height) of pictures `width` pixels wide; of the layout's own for None."""
        return self.size if width is None else (width, round(width * self.size[1] / self.size[0]))


_OTHER_MICROSCOPE: Final = Microscope(
    stain=(1.1, 0.9, 0.7), light=(0.94, 0.95, 0.95), blur=0.5, noise=0.02
)
"""TestB's: a bluer stain under a dimmer, colder lamp, softer and grainier; as far off as takes a
small network trained on Train from all right to less than half."""
_AML_MICROSCOPE: Final = Microscope(stain=(1.15, 1.2, 0.85), light=(1.0, 0.96, 0.97), blur=0.2)
_PBC_MICROSCOPE: Final = Microscope(stain=(1.2, 1.15, 0.95), light=(1.02, 0.96, 0.86), noise=0.008)

_RAABIN_NUMBERS: Final = {
    "Train": (20, 36, 80, 30, 134),
    "TestA": (9, 16, 34, 12, 57),
    "TestB": (0, 0, 30, 0, 60),
}
"""By part, in the order of the five classes."""

_AML_KINDS: Final = {
    "BAS": ("basophil", 14),
    "EBO": ("erythroblast", 14),
    "EOS": ("eosinophil", 26),
    "KSC": ("smudge", 10),
    "LYA": ("lymphocyte_atypical", 10),
    "LYT": ("lymphocyte", 110),
    "MMZ": ("metamyelocyte", 10),
    "MOB": ("monoblast", 11),
    "MON": ("monocyte", 50),
    "MYB": ("myelocyte", 12),
    "MYO": ("myeloblast", 80),
    "NGB": ("neutrophil_band", 16),
    "NGS": ("neutrophil", 240),
    "PMB": ("promyelocyte_bilobed", 10),
    "PMO": ("promyelocyte", 13),
}

_PBC_KINDS: Final = {
    "BA": ("basophil", ("basophil",), 30),
    "EO": ("eosinophil", ("eosinophil",), 78),
    "ERB": ("erythroblast", ("erythroblast",), 38),
    "IG": ("ig", ("promyelocyte", "myelocyte", "metamyelocyte"), 6),
    "MMY": ("ig", ("metamyelocyte",), 25),
    "MY": ("ig", ("myelocyte",), 28),
    "PMY": ("ig", ("promyelocyte",), 15),
    "LY": ("lymphocyte", ("lymphocyte",), 30),
    "MO": ("monocyte", ("monocyte",), 36),
    "BNE": ("neutrophil", ("neutrophil_band",), 40),
    "SNE": ("neutrophil", ("neutrophil",), 40),
    "NEUTROPHIL": ("neutrophil", ("neutrophil", "neutrophil_band"), 4),
    "PLATELET": ("platelet", ("platelet",), 58),
}
"""By file-name prefix: folder, kinds of cell, number."""

CELL_LAYOUTS: Final = MappingProxyType(
    {
        "raabin": CellLayout(
            root="",
            folders=tuple(
                CellFolder(
                    f"{part}/{label.capitalize()}",
                    f"{part}_{label}_{{:04d}}.jpg",
                    (label,),
                    number,
                    _OTHER_MICROSCOPE if part == "TestB" else USUAL_MICROSCOPE,
                )
                for part, numbers in _RAABIN_NUMBERS.items()
                for label, number in zip(WBC_CLASSES, numbers, strict=True)
                if number
            ),
            size=(128, 128),
        ),
        "aml": CellLayout(
            root="AML-Cytomorphology_LMU",
            folders=tuple(
                CellFolder(code, f"{code}_{{:04d}}.tiff", (kind,), number, _AML_MICROSCOPE)
                for code, (kind, number) in _AML_KINDS.items()
            ),
            size=(112, 112),
        ),
        "pbc": CellLayout(
            root="PBC_dataset_normal_DIB",
            folders=tuple(
                CellFolder(folder, f"{prefix}_{{}}.jpg", kinds, number, _PBC_MICROSCOPE)
                for prefix, (folder, kinds, number) in _PBC_KINDS.items()
            ),
            size=(120, 121),
        ),
    }
)
