"""Whether a mask lies on the stained cell of its image."""

# H W height width in pixels

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from datasets.cell_masks import Mask, Pixels, require_same_size
from datasets.otsu import find_otsu_threshold

MIN_COVERAGE: Final = 0.75
"""Below it a mask is suspicious. So are 2 of the 300 masks of segmentation_WBC, Dataset 1; shifted
by an eighth of the side 39 % of them, by a quarter 99 % (test_mask_alignment.py)."""

_MIN_CONTRAST: Final = 8


@dataclass(frozen=True)
class Alignment:
    """How a mask lies on its image.

    Attributes:
        mask_fraction: Share of the image inside the mask, in [0, 1].
        coverage: Share of the image's dark pixels that lie inside the mask, in [0, 1]; NaN where
            the image has none.
        problem: What makes the mask suspicious, empty where nothing does.
    """

    mask_fraction: float
    coverage: float
    problem: str

    @property
    def is_suspicious(self) -> bool:
        """Whether somebody should look at the pair."""
        return bool(self.problem)


def check_alignment(pixels: Pixels, inside: Mask) -> Alignment:
    """Return how a mask (H, W) lies on the dark part of an RGB image (H, W, 3).

    Dark is what Otsu's threshold parts from the rest in the green channel, where the purple of a
    nucleus is darkest; saturation is no use, as some smears have a yellow ground. A shifted,
    inverted or empty mask is found, one of another cell of much the same place and size is not.

    Raises:
        DatasetError: Mask and image differ in size.
    """
    height, width = pixels.shape[:2]
    require_same_size((inside.shape[1], inside.shape[0]), (width, height), "A mask")
    fraction = float(inside.mean())
    green = pixels[:, :, 1]
    if int(green.max()) - int(green.min()) < _MIN_CONTRAST:
        return Alignment(fraction, float("nan"), "the image has no dark part")
    dark = green <= find_otsu_threshold(green.ravel())
    coverage = float(inside[dark].mean())
    if fraction == 0:
        problem = "the mask is empty"
    elif fraction == 1:
        problem = "the mask covers the whole image"
    elif coverage < MIN_COVERAGE:
        problem = f"only {coverage:.0%} of the dark pixels lie in the mask"
    else:
        problem = ""
    return Alignment(fraction, coverage, problem)
