"""Prepared sets: a published set with splits, groups and label subsets, frozen as files."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from torch import Tensor
from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.images import read_sample, split_readable, to_tensor
from datasets.packing import pack_path, write_pack
from datasets.published import PublishedImage, PublishedSet
from datasets.samples import Sample, SampleSet, hash_file, percents_from
from datasets.splits import assign_splits, draw_subsets
from datasets.synthetic import is_synthetic_root
from datasets.taxonomy import Split

IMAGE_FOLDER: Final = "images"


@dataclass(frozen=True)
class HashedSet:
    """A published set whose images are all files that decode.

    Attributes:
        published: The set.
        hashes: SHA-256 of each image file.
        skipped: Files that did not decode and were left out on request.
    """

    published: PublishedSet
    hashes: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def write_made_images(published: PublishedSet, out: Path) -> PublishedSet:
    """Return the set with every image a file; those that are none are written as PNG.

    They go to ``out/images``, which appears whole or not at all and replaces an earlier one. A set
    of files is returned as it is.

    Raises:
        DatasetError: An image cannot be made, or two have the same name.
    """
    if not any(image.make for image in published.images):
        return published
    folder, temporary = out / IMAGE_FOLDER, out / f".{IMAGE_FOLDER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        images = tuple(
            _write_image(image, temporary, folder)
            for image in tqdm(published.images, desc="writing images", leave=False, disable=None)
        )
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return replace(published, images=images, root=folder)


def _write_image(image: PublishedImage, temporary: Path, folder: Path) -> PublishedImage:
    if image.make is None:
        raise DatasetError(f"{image.image_id}: a set holds either files or made images.")
    target = temporary / image.image_id
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise DatasetError(
            f"{image.image_id}: two images of the set have this name. Do two files differ only in "
            "their ending? Remove one."
        )
    image.make().save(target, format="PNG")
    return replace(image, path=folder / image.image_id, make=None)


def hash_images(
    published: PublishedSet, *, check_readable: bool = True, skip_unreadable: bool = False
) -> HashedSet:
    """Hash every image file.

    Args:
        published: The set; all its images are files.
        check_readable: Decode every file first.
        skip_unreadable: Decode every file first and leave out, and list, those that do not.

    Raises:
        UnreadableImageError: `check_readable` is set and a file does not decode.
        DatasetError: A class has no readable image.
    """
    paths = {image.path: image for image in published.images if image.path is not None}
    readable: list[Path] = list(paths)
    broken: list[Path] = []
    if check_readable or skip_unreadable:
        readable, broken = split_readable(paths, raise_first=not skip_unreadable)
    kept = tuple(paths[path] for path in readable)
    counts = Counter(image.label for image in kept)
    for name in published.classes:
        if not counts[name]:
            raise DatasetError(
                f"{published.root} holds no readable image of class {name}. Add some, or pass "
                f"--ignore-classes {name}."
            )
    return HashedSet(
        published=replace(published, images=kept),
        hashes=tuple(hash_file(path) for path in readable),
        skipped=tuple(paths[path].image_id for path in broken),
    )


def draw_set(
    hashed: HashedSet,
    groups: Sequence[str],
    fractions: Mapping[Split, float],
    seed: int,
    *,
    use_masks: bool = False,
) -> SampleSet:
    """Return the set with splits, published or drawn, and nested label subsets.

    Args:
        hashed: The set.
        groups: Group of each image.
        fractions: Share of each split.
        seed: Of the draw.
        use_masks: Add image x mask as one more training sample where a mask is published.

    Raises:
        DatasetError: A class has too few groups, or a mask does not decode or has another size
            than its image.
    """
    published = hashed.published
    labels = [image.label for image in published.images]
    meant = [published.parts.get(image.part) for image in published.images]
    splits = assign_splits(labels, groups, meant, fractions, seed)
    training = [index for index, split in enumerate(splits) if split == "train"]
    subsets = dict(
        zip(
            training,
            draw_subsets([labels[i] for i in training], [groups[i] for i in training], seed),
            strict=True,
        )
    )
    samples: list[Sample] = []
    for index, (image, split) in enumerate(zip(published.images, splits, strict=True)):
        if split is None or image.path is None:
            continue
        sample = Sample(
            sample_id=image.image_id,
            path=image.path,
            label=image.label,
            split=split,
            group=groups[index],
            sha256=hashed.hashes[index],
            label_percents=percents_from(subsets.get(index, 1)),
        )
        samples.append(sample)
        if use_masks and split == "train" and image.mask_path is not None:
            samples.append(_mask_sample(sample, image.mask_path))
    left_out = dict(published.left_out)
    straddling = sum(split is None for split in splits)
    if straddling:
        left_out["of a group that a later split holds"] = straddling
    return SampleSet(
        name=published.name,
        classes=published.classes,
        samples=tuple(samples),
        is_synthetic=is_synthetic_root(published.root),
        skipped=hashed.skipped,
        left_out=tuple(sorted(left_out.items())),
        has_published_test=any(meant),
    )


def _mask_sample(sample: Sample, mask_path: Path) -> Sample:
    masked = replace(
        sample,
        sample_id=f"{sample.sample_id}#masked",
        mask_path=mask_path,
        mask_sha256=hash_file(mask_path),
    )
    read_sample(masked)  # A mask that does not fit is to be found here, not in a training.
    return masked


def pack_images(out: Path, sample_sets: Sequence[SampleSet], image_size: int) -> Path:
    """Write the pack of all images of these draws of one set; return its path.

    Raises:
        DatasetError: An image does not decode, or the disk has no room.
    """
    by_content = {s.content_key: s for drawn in sample_sets for s in drawn.samples}
    keys = sorted(by_content)

    def decode() -> Iterator[Tensor]:
        for key in tqdm(keys, desc=f"packing {image_size} px", leave=False, disable=None):
            yield to_tensor(read_sample(by_content[key]), image_size)

    path = pack_path(out, image_size)
    write_pack(path, image_size, keys, decode())
    return path
