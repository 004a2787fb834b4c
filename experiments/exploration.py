"""Reads what an exploration needs of each class, and draws its pictures."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets.cell_masks import apply_mask
from datasets.errors import UnreadableImageError
from datasets.exploration import measure_pixels
from datasets.images import read_image
from datasets.listing import ImageListing, ListedImage, pick_images, read_size
from experiments.masks import MaskFindings
from experiments.reporting import figures_exploration as figures
from experiments.reporting.canvas import Picture, escape
from experiments.reporting.exploration_tables import ClassSummary
from experiments.reporting.figures_masks import draw_mask_outlines

_MAX_DRAWN: Final = 24
"""Classes that pictures show; the tables hold all."""

_MAX_NAME_LENGTH: Final = 40

log = logging.getLogger(__name__)


def summarise_class(
    listing: ImageListing,
    label: str,
    *,
    max_images: int,
    seed: int,
    thresholds: Sequence[int],
    num_examples: int,
) -> ClassSummary:
    """Return counts and sizes of all images of a class, and statistics of at most `max_images`.

    Images that do not decode are named in the log and in the summary.
    """
    images = listing.of_class(label)
    broken: list[str] = []
    pixels = measure_pixels(
        _read_pixels(pick_images(images, max_images, seed, listing.root), label, broken),
        thresholds=thresholds,
        num_examples=num_examples,
    )
    counts = {split: listing.count(label, split) for split in listing.splits}
    return ClassSummary(label, counts, _count_sizes(images), pixels, tuple(broken))


def draw_pictures(
    listing: ImageListing,
    summaries: Sequence[ClassSummary],
    masks: Mapping[str, MaskFindings],
    max_images: int,
) -> dict[str, Picture]:
    """Return the pictures of an exploration by name, stamped where the set is synthetic."""
    name, stamp = escape(listing.name[:_MAX_NAME_LENGTH]), listing.is_synthetic
    if len(summaries) > _MAX_DRAWN:
        name = f"{name}, the largest {_MAX_DRAWN} of {len(summaries)} classes"
        summaries = sorted(summaries, key=lambda s: s.num_images, reverse=True)[:_MAX_DRAWN]
    statistics = {summary.label: summary.pixels for summary in summaries}
    counts = {split: {s.label: s.counts[split] for s in summaries} for split in listing.splits}
    sizes = {summary.label: summary.sizes for summary in summaries}
    examples = {name: found.examples for name, found in statistics.items()}
    sampled = f"at most {max_images} images a class"
    pictures = {
        "class_counts": figures.draw_class_counts(counts, name, is_synthetic=stamp),
        "image_sizes": figures.draw_image_sizes(sizes, name, is_synthetic=stamp),
        "colour_histograms": figures.draw_colour_histograms(
            statistics, f"{name}: colours, {sampled}", is_synthetic=stamp
        ),
        "gray_histograms": figures.draw_gray_histograms(
            statistics, f"{name}: gray levels, {sampled}", is_synthetic=stamp
        ),
        "thresholds": figures.draw_thresholded(
            statistics, f"{name}: an image a class, cut at gray levels", is_synthetic=stamp
        ),
        "mean_images": figures.draw_mean_images(
            statistics, f"{name}: mean image, {sampled}", is_synthetic=stamp
        ),
        "contact_sheet": figures.draw_contact_sheet(examples, name, is_synthetic=stamp),
    }
    if masks:
        outlines = {label: found.outlines for label, found in masks.items()}
        masked = {
            label: [apply_mask(image, regions > 0) for image, regions in pairs]
            for label, pairs in outlines.items()
        }
        pictures["masked_images"] = figures.draw_contact_sheet(
            masked, f"{name}: image x mask", is_synthetic=stamp
        )
        pictures["masks"] = draw_mask_outlines(
            outlines, f"{name}: masks yellow, suspicious ones first", is_synthetic=stamp
        )
    return pictures


def _count_sizes(images: Sequence[ListedImage]) -> Counter[tuple[int, int]]:
    """Count (width, height) of all images; those with a broken header are left out."""
    found = [read_size(image.path) for image in images]
    return Counter(size for size in found if size is not None)


def _read_pixels(
    images: Sequence[ListedImage], name: str, broken: list[str]
) -> Iterator[NDArray[np.uint8]]:
    """Yield each image's pixels; add the paths of those that do not decode to `broken`."""
    for image in tqdm(images, desc=name, unit="image", leave=False, disable=None):
        try:
            yield np.asarray(read_image(image.path))
        except UnreadableImageError as error:
            log.warning("Left out: %s", error)
            broken.append(str(image.path).encode("utf-8", "backslashreplace").decode())
