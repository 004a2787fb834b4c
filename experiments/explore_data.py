"""What does a data set look like: how many images, how large, of which colours?

    python experiments/explore_data.py data/PBC_dataset_normal_DIB [--out DIR]

Takes what prepare_wbc.py wrote (its folder or manifest.csv), the course bundle, or any tree of
class folders (a folder of images is a class, the folders above name the split). Writes counts,
image sizes, colour and gray histograms with thresholds, mean images and a contact sheet as PNG and
as TensorBoard images, and a summary as CSV and JSON. Where images have masks, it reports how many
do not lie on the dark cell. Counts and sizes are of all images, pixel
statistics of at most --max-images a class. Time: about 10 seconds for 2,000 images of 360x360.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from datasets.cell_masks import apply_mask
from datasets.errors import UnreadableImageError
from datasets.exploration import GRAY_THRESHOLDS, PixelStatistics, measure_pixels
from datasets.images import read_image
from datasets.listing import (
    ImageListing,
    ListedImage,
    list_labelled_images,
    pick_images,
    read_size,
)
from experiments.cli import run_script
from experiments.masks import MaskFindings, check_masks, format_masks
from experiments.reporting import figures_exploration as figures
from experiments.reporting.canvas import escape
from experiments.reporting.exploration_tables import (
    ClassSummary,
    format_summary,
    write_summary,
)
from experiments.reporting.figures_masks import draw_mask_outlines

_MAX_DRAWN: Final = 40
"""Classes that pictures show; the tables hold all."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What is looked at, and where the pictures go."""

    source: tyro.conf.Positional[Path]
    """Folder of a data set, or a manifest.csv."""
    out: Path | None = None
    """Folder of the pictures. Default: runs/exploration/NAME, or below runs/synthetic."""
    max_images: int = 250
    """Images a class whose pixels are read; drawn by --seed where there are more."""
    columns: int = 10
    """Images of each class on the contact sheet."""
    thresholds: tuple[int, ...] = GRAY_THRESHOLDS
    """Gray levels at which images are cut into black and white."""
    seed: int = 0
    """Of the draw."""
    overwrite: bool = False
    """Replace earlier pictures in the same folder."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: Naming the flag.
        """
        for flag, value in (("--max-images", self.max_images), ("--columns", self.columns)):
            if value < 1:
                raise ValueError(f"{flag} must be 1 or more, not {value}.")
        if self.seed < 0:
            raise ValueError(f"--seed must be 0 or more, not {self.seed}.")
        if any(not 0 < threshold < 256 for threshold in self.thresholds):
            raise ValueError(f"--thresholds must lie in 1 to 255, not {self.thresholds}.")


def main(options: Options) -> Path:
    """Write pictures and summary, print the summary; return their folder."""
    listing = list_labelled_images(options.source)
    out = _open_out(options, listing)
    sizes = {name: _count_sizes(listing.of_class(name)) for name in listing.classes}
    statistics: dict[str, PixelStatistics] = {}
    summaries: list[ClassSummary] = []
    for name in listing.classes:
        picked = pick_images(listing.of_class(name), options.max_images, options.seed, listing.root)
        broken: list[str] = []
        statistics[name] = measure_pixels(
            _read_pixels(picked, name, broken),
            thresholds=options.thresholds,
            num_examples=options.columns,
        )
        counts = {split: listing.count(name, split) for split in listing.splits}
        summaries.append(ClassSummary(name, counts, sizes[name], statistics[name], tuple(broken)))
    masks = check_masks(listing, options.max_images, options.seed, options.columns)
    _write_pictures(out, _draw_all(listing, summaries, masks, options))
    info = {
        "name": listing.name,
        "source": str(options.source),
        "synthetic": listing.is_synthetic,
        "seed": options.seed,
        "max_images": options.max_images,
        "masks": {name: found.num_masks for name, found in masks.items()},
        "suspicious_masks": {k: v for found in masks.values() for k, v in found.suspicious.items()},
    }
    write_summary(out, info, summaries)
    text = format_summary(info, summaries) + (f"\n\n{format_masks(masks)}" if masks else "")
    print(f"{text}\nWritten to {out}")
    return out


def _open_out(options: Options, listing: ImageListing) -> Path:
    runs = Path("runs/synthetic") if listing.is_synthetic else Path("runs")
    out = options.out or runs / "exploration" / listing.name.replace(" ", "_")
    if (out / "exploration.json").exists():
        if not options.overwrite:
            raise ValueError(
                f"{out} holds an earlier exploration. Pass --overwrite to replace it, or another "
                "--out."
            )
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    return out


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


def _draw_all(
    listing: ImageListing,
    summaries: Sequence[ClassSummary],
    masks: dict[str, MaskFindings],
    options: Options,
) -> dict[str, NDArray[np.uint8]]:
    name, stamp = escape(listing.name), listing.is_synthetic
    if len(summaries) > _MAX_DRAWN:
        name = f"{name}, the largest {_MAX_DRAWN} of {len(summaries)} classes"
        summaries = sorted(summaries, key=lambda s: s.num_images, reverse=True)[:_MAX_DRAWN]
    statistics = {summary.label: summary.pixels for summary in summaries}
    counts = {split: {s.label: s.counts[split] for s in summaries} for split in listing.splits}
    sizes = {summary.label: summary.sizes for summary in summaries}
    examples = {name: found.examples for name, found in statistics.items()}
    sampled = f"at most {options.max_images} images a class"
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


def _write_pictures(out: Path, pictures: dict[str, NDArray[np.uint8]]) -> None:
    with SummaryWriter(str(out / "tensorboard")) as writer:
        for tag, picture in pictures.items():
            Image.fromarray(picture).save(out / f"{tag}.png")
            writer.add_image(f"exploration/{tag}", picture, 0, dataformats="HWC")


if __name__ == "__main__":
    run_script(main, Options, __doc__)
