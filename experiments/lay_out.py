"""Lay out images of one published set as another, to try a system whose own set is not at hand.

    python experiments/lay_out.py --source pbc --as raabin --root data/pbc --out data/pbc_as_raabin

The images are hard links, or copies where links cannot be; the originals stay where they are.
STAND_IN.json names the folder as a stand-in, and so does every result on it. raabin: PBC's five
common classes, 61 % as Train and 26 % as TestA, stratified; TestB is segmentation_WBC, from another
camera and stain (--test-b), or the rest of PBC. aml: PBC's classes and subtypes by code. What has
no place is left out and counted. pbc: as it is, which with --half gives one model's images to
learn from and another's to be transferred to, without a photograph in both.

Time: seconds; with --half a minute for 3,438 images, whose copies are sought.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from datasets.catalogue import read_source
from datasets.laying_out import (
    Half,
    Layout,
    Plan,
    lay_out,
    plan_aml,
    plan_pbc,
    plan_raabin,
    take_half,
)
from datasets.published import PublishedSet
from experiments.cli import run_script


@dataclass(frozen=True)
class Options:
    """Which images go where."""

    layout: Annotated[Layout, tyro.conf.arg(name="as")]
    """In whose layout."""
    root: Path
    """Folder of the source, as its card says (list_sources.py)."""
    out: Path
    """New or empty folder for the stand-in; the --data-root of the system's script."""
    source: Literal["pbc"] = "pbc"
    """Whose images."""
    test_b: Path | None = None
    """raabin: folder of segmentation_WBC, which becomes TestB. Default: the rest of PBC."""
    half: Half | None = None
    """Only half of the source's photographs: what is in the first is not in the second."""
    seed: int = 0
    """Of the draw of parts and halves."""

    def __post_init__(self) -> None:
        """Refuse options that would be of no use.

        Raises:
            ValueError: Naming the flag.
        """
        if self.layout == "pbc" and self.half is None:
            raise ValueError("--as pbc would be the source itself: pass --half first or second.")
        if self.layout != "raabin" and self.test_b is not None:
            raise ValueError(f"--test-b is a part of --as raabin, not of --as {self.layout}.")


def main(options: Options) -> PublishedSet:
    """Lay the images out and print what they are; return the stand-in as its reader reads it."""
    published = read_source(options.source, options.root)
    if options.out.resolve().is_relative_to(published.root.resolve()):
        raise ValueError(f"--out {options.out} lies in the source, {published.root}. Pass another.")
    if options.half is not None:
        published = take_half(published, options.half, options.seed)
    if options.layout == "pbc":
        plan = plan_pbc(published)
    elif options.layout == "aml":
        plan = plan_aml(published)
    else:
        other = options.test_b and read_source("segmentation_wbc", options.test_b)
        plan = plan_raabin(published, options.seed, other or None)
    lay_out(plan, options.out)
    stand_in = read_source(options.layout, options.out)
    print(format_counts(stand_in, plan))
    print(f"Written to {options.out}; pass it as --data-root.")
    return stand_in


def format_counts(stand_in: PublishedSet, plan: Plan) -> str:
    """Return the number of images by class and part, and of those left out, as text."""
    parts: list[str | None] = [*stand_in.parts] or [None]
    counts = [stand_in.count(part) for part in parts]
    lines = [stand_in.name, f"{'class':24}" + "".join(f"{part or 'images':>8}" for part in parts)]
    lines += [
        f"{name:24}" + "".join(f"{count[name]:8d}" for count in counts) for name in stand_in.classes
    ]
    lines.append(f"{'all':24}" + "".join(f"{sum(count.values()):8d}" for count in counts))
    lines += [f"Left out, {reason}: {number}" for reason, number in plan.left_out.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
