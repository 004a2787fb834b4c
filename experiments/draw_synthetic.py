"""What do the synthetic images look like?

Writes the synthetic bundle into a folder in the course bundle's layout, and contact sheets of its
cells and tissue tiles.

    python experiments/draw_synthetic.py --out data/synthetic [--scale 2]

Time: about 20 seconds for the default sizes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import (
    SyntheticSizes,
    draw_cell_sheet,
    draw_tissue_sheet,
    write_synthetic_bundle,
)
from experiments.cli import run_script


@dataclass(frozen=True)
class Options:
    """Where the images go and how many there are."""

    out: Path
    """New folder for the bundle and the sheets."""
    scale: int = 1
    """Times the default number of training cells, tiles and renal images."""
    seed: int = 0
    """Of the images."""
    columns: int = 8
    """Cells of each class on the sheet."""
    sheets_only: bool = False
    """Write the contact sheets and no bundle."""


def main(options: Options) -> None:
    """Write bundle and sheets."""
    if options.out.exists() and any(options.out.iterdir()) and not options.sheets_only:
        raise ValueError(f"{options.out} is not empty. Pass another --out.")
    options.out.mkdir(parents=True, exist_ok=True)
    draw_cell_sheet(options.columns, 128, options.seed).save(options.out / "synthetic_cells.jpg")
    draw_tissue_sheet(256, options.seed).save(options.out / "synthetic_tissue.jpg")
    print(f"Contact sheets: {options.out}/synthetic_cells.jpg, synthetic_tissue.jpg")
    if not options.sheets_only:
        sizes = SyntheticSizes(seed=options.seed)
        larger = replace(
            sizes,
            cells_by_class=tuple(number * options.scale for number in sizes.cells_by_class),
            tiles_by_class=sizes.tiles_by_class * options.scale,
            renal_images=sizes.renal_images * options.scale,
        )
        write_synthetic_bundle(options.out, larger)
        print(f"Bundle: pass --data-root {options.out}")


if __name__ == "__main__":
    run_script(main, Options, __doc__)
