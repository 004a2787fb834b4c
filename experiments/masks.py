"""Checks that the masks of a listed set lie on their cells, and collects outlines to look at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from datasets.cell_masks import CYTOPLASM, Pixels
from datasets.errors import DatasetError
from datasets.images import read_image, read_mask
from datasets.listing import ImageListing, ListedImage, pick_images
from datasets.mask_alignment import check_alignment

_MAX_SIDE: Final = 200
_MAX_NAMED: Final = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskFindings:
    """What was found of the masks of one class.

    Attributes:
        num_masks: Masks that the class has.
        num_checked: How many of them were looked at.
        suspicious: Problem of each suspicious pair by path of the image.
        outlines: Images (H, W, 3) with their regions (H, W), made small; suspicious ones first.
    """

    num_masks: int
    num_checked: int
    suspicious: dict[str, str]
    outlines: tuple[tuple[Pixels, Pixels], ...]


def check_masks(
    listing: ImageListing, max_images: int, seed: int, num_outlines: int
) -> dict[str, MaskFindings]:
    """Return the findings by class for classes that have masks; at most `max_images` a class.

    A mask that does not decode, or has another size than its image, is suspicious.
    """
    findings = {}
    for name in listing.classes:
        masked = [image for image in listing.of_class(name) if image.mask_path is not None]
        if masked:
            picked = pick_images(masked, max_images, seed, listing.root)
            findings[name] = _check_class(picked, len(masked), num_outlines)
    return findings


def format_masks(findings: dict[str, MaskFindings]) -> str:
    """Return the share of suspicious masks as text of at most 80 columns."""
    checked = sum(found.num_checked for found in findings.values())
    problems = [item for found in findings.values() for item in found.suspicious.items()]
    lines = [
        f"Masks: {sum(found.num_masks for found in findings.values())}, {checked} looked at, "
        f"{len(problems)} suspicious ({len(problems) / max(1, checked):.1%})"
    ]
    for path, problem in problems[:_MAX_NAMED]:
        lines += [f"  {path[-76:]}", f"    {problem[:74]}"]
    return "\n".join(lines)


def _check_class(images: Sequence[ListedImage], num_masks: int, num_outlines: int) -> MaskFindings:
    suspicious: dict[str, str] = {}
    strange: list[tuple[Pixels, Pixels]] = []
    usual: list[tuple[Pixels, Pixels]] = []
    for image in images:
        assert image.mask_path is not None
        try:
            picture = read_image(image.path)
            inside = read_mask(image.mask_path, picture.size)
        except DatasetError as error:
            suspicious[str(image.path)] = str(error)
            continue
        pixels = np.asarray(picture)
        problem = check_alignment(pixels, inside).problem
        if problem:
            suspicious[str(image.path)] = problem
        shown = strange if problem else usual
        if len(shown) < num_outlines:
            step = -(-max(inside.shape) // _MAX_SIDE)
            regions = np.where(inside, CYTOPLASM, 0).astype(np.uint8)
            shown.append((pixels[::step, ::step], regions[::step, ::step]))
    outlines = tuple([*strange, *usual][:num_outlines])
    return MaskFindings(num_masks, len(images), suspicious, outlines)
