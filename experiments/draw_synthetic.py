"""What do the synthetic images look like?

Writes a synthetic set into a folder, in the layout of the course bundle or in that of a published
cell set, and contact sheets of it. Scripts draw the same images themselves where no --data-root is
given; this one makes larger or other ones.

    python experiments/draw_synthetic.py --out data/synthetic [--scale 2]
    python experiments/draw_synthetic.py --layout raabin --out data/synthetic-raabin

Time: about 20 seconds for the bundle, 5 seconds for another layout.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from datasets.files import write_whole
from datasets.synthetic import (
    PublishedSizes,
    SyntheticSizes,
    SyntheticSource,
    draw_cell_sheet,
    draw_published_sheet,
    draw_tissue_sheet,
    write_synthetic_bundle,
    write_synthetic_published,
)
from experiments.cli import run_script


@dataclass(frozen=True)
class Options:
    """Where the images go and how many there are."""

    out: Path
    """New folder for the images and the sheets."""
    layout: Literal["bundle"] | SyntheticSource = "bundle"
    """The course bundle, or the published set whose folders and file names the images get."""
    scale: int = 1
    """Times the default number of images; of the bundle: training cells, tiles, renal images."""
    seed: int = 0
    """Of the images."""
    columns: int = 8
    """Cells of each class, or a photograph and its copies, on the sheet."""
    sheets_only: bool = False
    """Write the contact sheets and no set."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            ValueError: Naming the flag.
        """
        for flag, value in (("--scale", self.scale), ("--columns", self.columns)):
            if value < 1:
                raise ValueError(f"{flag} must be 1 or more, not {value}.")


def main(options: Options) -> None:
    """Write set and sheets."""
    out = options.out
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file. Pass a folder as --out.")
    if out.exists() and any(out.iterdir()) and not options.sheets_only:
        raise ValueError(f"{out} is not empty. Pass another --out.")
    out.mkdir(parents=True, exist_ok=True)
    if options.layout == "bundle":
        cells = draw_cell_sheet(options.columns, 128, options.seed)
        _save(cells, out / "synthetic_cells.jpg")
        _save(draw_tissue_sheet(256, options.seed), out / "synthetic_tissue.jpg")
        print(f"Contact sheets: {out}/synthetic_cells.jpg, synthetic_tissue.jpg")
    else:
        sheet_path = out / f"synthetic_{options.layout}.jpg"
        _save(draw_published_sheet(options.layout, options.columns, options.seed), sheet_path)
        print(f"Contact sheet: {sheet_path}")
    if not options.sheets_only:
        _write_set(options)
        print(f"Set: pass --data-root {out}")


def _save(sheet: Image.Image, path: Path) -> None:
    with write_whole(path) as temporary:
        sheet.save(temporary, format="JPEG")


def _write_set(options: Options) -> None:
    if options.layout != "bundle":
        sizes = PublishedSizes(scale=options.scale, seed=options.seed)
        write_synthetic_published(options.out, options.layout, sizes)
        return
    bundle = SyntheticSizes(seed=options.seed)
    larger = replace(
        bundle,
        cells_by_class=tuple(number * options.scale for number in bundle.cells_by_class),
        tiles_by_class=bundle.tiles_by_class * options.scale,
        renal_images=bundle.renal_images * options.scale,
    )
    write_synthetic_bundle(options.out, larger)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
