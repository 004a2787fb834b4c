"""What does a data set look like: how many images, how large, of which colours?

    python experiments/explore_data.py data/PBC_dataset_normal_DIB [--out DIR]

Takes what prepare_wbc.py wrote (its folder or manifest.csv), the course bundle, or any tree of
class folders (a folder of images is a class, the folders above name the split). Writes counts,
image sizes, colour and gray histograms with thresholds, mean images and a contact sheet as PNG and
as TensorBoard images, and a summary as CSV and JSON. Counts and sizes are of all images, pixel
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from datasets.errors import UnreadableImageError
from datasets.exploration import GRAY_THRESHOLDS, PixelStatistics, measure_pixels
from datasets.images import read_image
from datasets.listing import ImageListing, ListedImage, list_labelled_images, pick_images
from experiments.cli import run_script
from experiments.reporting import figures_exploration as figures
from experiments.reporting.exploration_tables import (
    ClassSummary,
    format_summary,
    write_summary,
)

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
    _write_pictures(out, _draw_all(listing, summaries, options))
    info = {
        "name": listing.name,
        "source": str(options.source),
        "synthetic": listing.is_synthetic,
        "seed": options.seed,
        "max_images": options.max_images,
    }
    write_summary(out, info, summaries)
    print(f"{format_summary(info, summaries)}\nWritten to {out}")
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
    """Count (width, height) as the files' headers state them; broken headers are left out."""
    sizes: Counter[tuple[int, int]] = Counter()
    for image in images:
        try:
            with Image.open(image.path) as header:
                sizes[header.size] += 1
        except (OSError, ValueError, SyntaxError) as error:
            log.debug("%s: no image size (%s)", image.path, error)
    return sizes


def _read_pixels(
    images: Sequence[ListedImage], name: str, broken: list[str]
) -> Iterator[NDArray[np.uint8]]:
    """Yield each image's pixels; add the paths of those that do not decode to `broken`."""
    for image in tqdm(images, desc=name, unit="image", leave=False, disable=None):
        try:
            yield np.asarray(read_image(image.path))
        except UnreadableImageError as error:
            log.warning("Left out: %s", error)
            broken.append(str(image.path))


def _draw_all(
    listing: ImageListing, summaries: Sequence[ClassSummary], options: Options
) -> dict[str, NDArray[np.uint8]]:
    statistics = {summary.label: summary.pixels for summary in summaries}
    counts = {split: {s.label: s.counts[split] for s in summaries} for split in listing.splits}
    sizes = {summary.label: summary.sizes for summary in summaries}
    examples = {name: found.examples for name, found in statistics.items()}
    stamp, name = listing.is_synthetic, listing.name
    sampled = f"at most {options.max_images} images a class"
    return {
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


def _write_pictures(out: Path, pictures: dict[str, NDArray[np.uint8]]) -> None:
    with SummaryWriter(str(out / "tensorboard")) as writer:
        for tag, picture in pictures.items():
            Image.fromarray(picture).save(out / f"{tag}.png")
            writer.add_image(f"exploration/{tag}", picture, 0, dataformats="HWC")


if __name__ == "__main__":
    run_script(main, Options, __doc__)
