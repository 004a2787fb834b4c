"""Groups of images that show the same thing, found by their pixels alone."""

# N images

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import cv2
from tqdm import tqdm

from datasets.errors import UnreadableImageError
from datasets.leakage.features import ImageFeatures, describe_image
from datasets.leakage.linking import Linker, Partition

Level = Literal["photograph", "scene"]

NUM_WORKERS: Final = 2
"""Threads that read and compare; more than a handful gain little."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clusters:
    """The groups of a number of files.

    Attributes:
        photograph_of: Name of the photograph each readable file was made from. A name comes from
            the pixels of the members, so it depends neither on their paths nor on their order.
        scene_of: Name of the scene each shows. A scene is one photograph, or several that show the
            same cells, taken again or of overlapping fields.
        num_pairs: Linked pairs that hold the groups together, by kind: same_bytes, same_pixels,
            near_duplicate, augmented_sibling and, of scenes, photographed_again.
        unreadable: Files that do not decode.
    """

    photograph_of: dict[Path, str]
    scene_of: dict[Path, str]
    num_pairs: dict[str, int]
    unreadable: tuple[Path, ...] = ()

    def group_of(self, level: Level) -> dict[Path, str]:
        """Return the name of the group of each readable file at `level`."""
        return self.photograph_of if level == "photograph" else self.scene_of


def find_groups(
    paths: Sequence[Path], *, level: Level = "photograph", num_workers: int = NUM_WORKERS
) -> list[str]:
    """Return the name of the group of each image, so that copies of one image share one.

    Copies are the same file, the same pixels, near-duplicates (saved again, resized) and augmented
    siblings (flip, rotation by any angle, shift, crop, brightness).

    Args:
        paths: Image files, in any order.
        level: ``photograph`` groups copies of one photograph; ``scene`` also puts photographs of
            the same cells together, which is the safer choice for drawing splits.
        num_workers: Threads.

    Raises:
        UnreadableImageError: A file does not decode.
    """
    group_of = find_clusters(paths, num_workers=num_workers).group_of(level)
    return [group_of[path] for path in paths]


def find_clusters(
    paths: Sequence[Path],
    *,
    num_workers: int = NUM_WORKERS,
    skip_unreadable: bool = False,
    exact: bool = False,
) -> Clusters:
    """Return the groups of the images, and what holds them together.

    Args:
        paths: Image files, or tiles as `reading.place_tile` names them, in any order.
        num_workers: Threads.
        skip_unreadable: List files that do not decode instead of raising.
        exact: Group images with the same pixels only, in a time that grows with their number and
            not with its square.

    Raises:
        UnreadableImageError: A file does not decode and `skip_unreadable` is not set.
    """
    files = sorted(set(paths))
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # We run images side by side; OpenCV's own threads would only compete.
    try:
        with ThreadPoolExecutor(num_workers) as pool:
            images = _read_all(files, pool, skip_unreadable=skip_unreadable, exact=exact)
            pixel_hash_of = {path: image.pixel_hash for path, image in images.items()}
            num_pairs = _count_duplicates(images.values())
            unique = {image.pixel_hash: image for image in images.values()}
            # Ordered by content, so that the result depends on no path.
            ordered = [unique[name] for name in sorted(unique)]
            del images, unique
            if exact:
                photograph_parts = scene_parts = Partition(len(ordered))
            else:
                linker = Linker(ordered, pool)
                linker.run()
                num_pairs += linker.num_pairs
                photograph_parts, scene_parts = linker.photographs, linker.scenes
    finally:
        cv2.setNumThreads(num_threads)
    photographs = _name_groups("photo", ordered, photograph_parts)
    scenes = _name_groups("scene", ordered, scene_parts)
    return Clusters(
        photograph_of={path: photographs[pixels] for path, pixels in pixel_hash_of.items()},
        scene_of={path: scenes[pixels] for path, pixels in pixel_hash_of.items()},
        num_pairs=dict(num_pairs),
        unreadable=tuple(path for path in files if path not in pixel_hash_of),
    )


def _name_groups(
    prefix: str, images: Sequence[ImageFeatures], partition: Partition
) -> dict[str, str]:
    """Return the group's name by pixel hash: the first of its members' pixel hashes."""
    return {
        image.pixel_hash: f"{prefix}-{images[root].pixel_hash[:12]}"
        for image, root in zip(images, partition.roots(), strict=True)
    }


def _read_all(
    files: Sequence[Path], pool: ThreadPoolExecutor, *, skip_unreadable: bool, exact: bool
) -> dict[Path, ImageFeatures]:
    read = partial(_describe, skip_unreadable=skip_unreadable, exact=exact)
    images = tqdm(
        pool.map(read, files), total=len(files), desc="reading images", unit="image", disable=None
    )
    pairs = zip(files, images, strict=True)
    return {path: image for path, image in pairs if image is not None}


def _count_duplicates(images: Iterable[ImageFeatures]) -> Counter[str]:
    """Return how many images repeat the bytes, or only the pixels, of an earlier one."""
    num_pairs: Counter[str] = Counter()
    file_hashes: set[str] = set()
    pixel_hashes: set[str] = set()
    for image in images:
        if image.file_hash in file_hashes:
            num_pairs["same_bytes"] += 1
        elif image.pixel_hash in pixel_hashes:
            num_pairs["same_pixels"] += 1
        file_hashes.add(image.file_hash)
        pixel_hashes.add(image.pixel_hash)
    return num_pairs


def _describe(path: Path, *, skip_unreadable: bool, exact: bool) -> ImageFeatures | None:
    try:
        return describe_image(path, exact=exact)
    except UnreadableImageError as error:
        if not skip_unreadable:
            raise
        log.warning("Left out: %s", error)
        return None
