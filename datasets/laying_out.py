"""Images of one published set laid out as another, where a system's own set is not at hand."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.leakage import find_groups
from datasets.published import PublishedImage, PublishedSet, relabel
from datasets.sources import aml
from datasets.sources import pbc as pbc_source
from datasets.splits import draw_parts
from datasets.stand_in import write_stand_in_marker
from datasets.synthetic import is_synthetic_root
from datasets.synthetic.storage import write_marker

Layout = Literal["raabin", "aml", "pbc"]
Half = Literal["first", "second"]

RAABIN_SHARES: Final[Mapping[str, float]] = {"Train": 0.61, "TestA": 0.26, "TestB": 0.13}
"""Of the 16,633 published cells, 61, 26 and 13 % lie in these parts."""
FEWEST: Final = 5
"""Images of a class; of fewer no score says anything."""
AML_CODES: Final[Mapping[str, str]] = {
    "basophil": "BAS",
    "eosinophil": "EOS",
    "erythroblast": "EBO",
    "lymphocyte": "LYT",
    "monocyte": "MON",
    "segmented neutrophil": "NGS",
    "band neutrophil": "NGB",
    "myelocyte": "MYB",
    "metamyelocyte": "MMZ",
    "promyelocyte": "PMO",
}
"""By subtype of PBC, which the prefix of a file name tells."""


@dataclass(frozen=True)
class Plan:
    """Which image goes where.

    Attributes:
        layout: Of the stand-in.
        name: What tables call it.
        files: The source of each file, by path below the stand-in's root.
        left_out: Number of source images that are not laid out, by reason.
        is_synthetic: The sources are; so is the stand-in.
    """

    layout: Layout
    name: str
    files: Mapping[str, Path]
    left_out: Mapping[str, int]
    is_synthetic: bool


def plan_raabin(pbc: PublishedSet, seed: int, test_b: PublishedSet | None = None) -> Plan:
    """Return PBC's five common classes as Train and TestA, and what comes from elsewhere as TestB.

    Train and TestA are the same with and without `test_b`. Classes with fewer than `FEWEST` images
    are left out.

    Args:
        pbc: The images of PBC.
        seed: Of the draw of the parts, which is stratified.
        test_b: segmentation_WBC, from another camera and stain; None: the rest of PBC.

    Raises:
        DatasetError: No class has enough images.
    """
    left_out: Counter[str] = Counter()
    images = _keep_common(pbc, "pbc", left_out)
    labels = [image.label for image in images]
    ids = [image.image_id for image in images]
    placed = list(zip(draw_parts(labels, ids, RAABIN_SHARES, seed), images, strict=True))
    if test_b is not None:
        kept = [entry for entry in placed if entry[0] != "TestB"]
        left_out[f"{pbc.name}: TestB is of {test_b.name}"] = len(placed) - len(kept)
        others = _keep_common(test_b, "segmentation_wbc", left_out)
        placed = kept + [("TestB", image) for image in others]
    sources = [pbc] if test_b is None else [pbc, test_b]
    files = _name_files([(f"{part}/{i.label.capitalize()}", i) for part, i in placed])
    return _plan("raabin", "Raabin-WBC", sources, files, left_out)


def plan_aml(pbc: PublishedSet) -> Plan:
    """Return PBC's classes and subtypes by AML-Cytomorphology's codes.

    Images whose subtype has no code (platelets) or is not told (IG, undivided neutrophils) are
    left out.

    Raises:
        DatasetError: No image has a code.
    """
    left_out: Counter[str] = Counter()
    placed = []
    for image in pbc.images:
        code = AML_CODES.get(image.subtype)
        if code is None:
            told = image.subtype or f"{image.label} of unknown subtype"
            left_out[f"{pbc.name}: no code for {told}"] += 1
        else:
            placed.append((f"{aml.FOLDER}/{code}", image))
    if not placed:
        raise DatasetError(f"No image of {pbc.root} bears a prefix of {pbc.name}. Check --root.")
    return _plan("aml", "AML-Cytomorphology", [pbc], _name_files(placed), left_out)


def plan_pbc(pbc: PublishedSet) -> Plan:
    """Return PBC's images in its own layout, which is of use with `take_half`."""
    placed = [(f"{pbc_source.FOLDER}/{image.label}", image) for image in pbc.images]
    return replace(_plan("pbc", pbc.name, [pbc], _name_files(placed), {}), name=pbc.name)


def take_half(published: PublishedSet, half: Half, seed: int) -> PublishedSet:
    """Return one of two halves that share no photograph: what one model learns, and another.

    Copies are found by their pixels, which takes a while.

    Args:
        published: Its images are files.
        half: Which.
        seed: Of the draw, which is stratified.

    Raises:
        UnreadableImageError: A file does not decode.
        DatasetError: A class has a single photograph.
    """
    labels = [image.label for image in published.images]
    groups = find_groups([image.path for image in published.images if image.path is not None])
    halves = draw_parts(labels, groups, {"first": 0.5, "second": 0.5}, seed)
    kept = [i for i, its in zip(published.images, halves, strict=True) if its == half]
    return replace(published, name=f"{published.name}, {half} half", images=tuple(kept))


def lay_out(plan: Plan, out: Path) -> None:
    """Lay the images out in `out`, which appears whole or not at all.

    They are hard links, or copies where links cannot be: on another disk, or of files of others.

    Raises:
        DatasetError: `out` holds something.
        OSError: `out` cannot be written.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"--out {out} is there already. Pass a new or an empty folder.")
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name, source in tqdm(
            plan.files.items(), desc="laying out", unit="image", leave=False, disable=None
        ):
            _link_or_copy(source, unfinished / name)
        if plan.is_synthetic:
            write_marker(unfinished, {"laid_out": plan.name})
        facts = {"images": len(plan.files), "left_out": dict(plan.left_out)}
        write_stand_in_marker(unfinished, plan.name, plan.layout, facts)
        unfinished.replace(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _keep_common(
    published: PublishedSet, source: str, left_out: Counter[str]
) -> list[PublishedImage]:
    """Return the images of the five common classes that have enough; count the others."""
    common = relabel(published, source, "common")
    counts = common.count()
    left_out.update({f"{common.name}: {why}": number for why, number in common.left_out.items()})
    for label, number in counts.items():
        if number < FEWEST:
            left_out[f"{common.name}: fewer than {FEWEST} images of {label}"] = number
    kept = [image for image in common.images if counts[image.label] >= FEWEST]
    if not kept:
        raise DatasetError(
            f"{published.root} holds no class with {FEWEST} images or more, which each class of a "
            "stand-in needs."
        )
    return kept


def _name_files(placed: Sequence[tuple[str, PublishedImage]]) -> dict[str, Path]:
    """Return the source of each file; names are those of the source, which tell where it is from.

    Raises:
        DatasetError: Two images would have one name, or an image is no file.
    """
    names = Counter((folder, Path(image.image_id).name) for folder, image in placed)
    files: dict[str, Path] = {}
    for folder, image in placed:
        name = Path(image.image_id).name
        if names[folder, name] > 1:
            # Parts of a set may number their images anew.
            name = image.image_id.replace("/", "_")
        target = f"{folder}/{name}"
        if target in files or image.path is None:
            why = "is no file" if image.path is None else f"and another would both be {target}"
            raise DatasetError(f"{image.image_id} {why}. Rename or remove it.")
        files[target] = image.path
    return files


def _plan(
    layout: Layout,
    laid_out_as: str,
    sources: Sequence[PublishedSet],
    files: Mapping[str, Path],
    left_out: Mapping[str, int],
) -> Plan:
    names = " and ".join(source.name for source in sources)
    return Plan(
        layout=layout,
        name=f"{names} in the layout of {laid_out_as} (stand-in)",
        files=files,
        left_out={why: number for why, number in left_out.items() if number},
        is_synthetic=any(is_synthetic_root(source.root) for source in sources),
    )


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Resolved: the link is to be to the image, not to a symbolic link to it.
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)
