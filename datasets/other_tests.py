"""Other cell sets as a test of a finished run: common labels, groups, nothing that it has seen."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from datasets.catalogue import SOURCES, PreparedSource, read_source
from datasets.cells import read_prepared
from datasets.counterparts import find_common_class
from datasets.errors import DatasetError
from datasets.grouping import merge_groups
from datasets.images import split_readable
from datasets.leakage import find_groups
from datasets.preparing import hash_images, write_made_images
from datasets.published import PublishedImage, PublishedSet, relabel
from datasets.requested_tests import PREPARED, TestRequest
from datasets.samples import Sample
from datasets.synthetic import is_synthetic_root

SAME_PHOTOGRAPHS: Final = (
    ("Kaggle blood cells", "Kaggle photographs", "BCCD"),
    ("PBC", "BloodMNIST"),
)
"""Names of sets that show the same photographs, cut or scaled in other ways."""


@dataclass(frozen=True)
class OtherTest:
    """A set to test on.

    Attributes:
        name: What files and tables call it.
        data: What the set calls itself.
        samples: With common labels, and the groups that intervals are over.
        left_out: Number of images that are not tested on, by reason.
        is_synthetic: Whether the images are.
    """

    name: str
    data: str
    samples: tuple[Sample, ...]
    left_out: Mapping[str, int]
    is_synthetic: bool


def open_other_test(
    request: TestRequest,
    nameable: Sequence[str],
    seen: Collection[str],
    out: Path,
    *,
    source_options: Mapping[str, object],
    find_copies: bool = True,
    max_images: int | None = None,
    skip_unreadable: bool = False,
) -> OtherTest:
    """Return a set's images with common labels.

    Args:
        request: Which set.
        nameable: Common classes that the run can name; images of others are left out.
        seen: SHA-256 of the files that the run has learnt from.
        out: Folder for images that are no files, such as crops.
        source_options: Of the sources' readers, by name; each takes its own. None: not set.
        find_copies: Look for copies of one photograph by pixels; a prepared set says itself.
        max_images: Take at most so many, classes in proportion.
        skip_unreadable: Leave out, and count, files that do not decode.

    Raises:
        DatasetError: The set cannot be read, the run has seen images of it, or nothing is left.
        UnreadableImageError: A file does not decode.
    """
    published, is_synthetic = _read_common(request, source_options)
    known = tuple(image for image in published.images if image.label in nameable)
    unknown = Counter(i.label for i in published.images if i.label not in nameable)
    left_out = dict(published.left_out)
    left_out |= {f"the run cannot name: {name}": n for name, n in sorted(unknown.items())}
    if not known:
        reasons = "; ".join(f"{number} {reason}" for reason, number in left_out.items())
        raise DatasetError(
            f"--test {request.name}: no image of {request.root} has a class that the run can name "
            f"({', '.join(nameable)}). Left out: {reasons or 'nothing'}."
        )
    present = tuple(name for name in published.classes if any(i.label == name for i in known))
    published = write_made_images(replace(published, classes=present, images=known), out)
    hashes = hash_images(published, check_readable=False).hashes
    samples = [
        Sample(image.image_id, _path_of(image), image.label, "test", image.group, sha256)
        for image, sha256 in zip(published.images, hashes, strict=True)
    ]
    _require_unseen(request, samples, seen)
    if max_images is not None and max_images < len(samples):
        left_out["more than --max-images"] = len(samples) - max_images
        samples = pick_evenly(samples, max_images)
    samples, num_broken = _keep_readable(samples, skip_unreadable=skip_unreadable)
    if num_broken:
        left_out["unreadable"] = num_broken
    grouped = tuple(_group(samples, find_copies=find_copies))
    return OtherTest(request.name, published.name, grouped, left_out, is_synthetic)


def find_shared_photographs(learnt_from: str, tested_on: str) -> str | None:
    """Return a set of whose photographs two sets are made, by their names; None if they are not.

    Where files differ, only pixels could tell which of them are the same.
    """
    for family in SAME_PHOTOGRAPHS:
        source = next((name for name in family if name in learnt_from), None)
        if source and any(name in tested_on for name in family if name != source):
            return source
    return None


def pick_evenly(samples: Sequence[Sample], number: int) -> list[Sample]:
    """Return at most `number` samples, classes in proportion, in the order given.

    The choice is by hash of the name, so it is the same everywhere.
    """
    ranks: Counter[str | None] = Counter()
    sizes = Counter(sample.label for sample in samples)
    ranked = []
    for sample in sorted(samples, key=lambda sample: _hash_name(sample.sample_id)):
        ranked.append((ranks[sample.label] / sizes[sample.label], sample.sample_id))
        ranks[sample.label] += 1
    kept = {name for _, name in sorted(ranked)[:number]}
    return [sample for sample in samples if sample.sample_id in kept]


def _read_common(
    request: TestRequest, source_options: Mapping[str, object]
) -> tuple[PublishedSet, bool]:
    """Return the set with common labels, and whether it is synthetic."""
    if request.source == PREPARED:
        return _read_prepared(request)
    source = cast("PreparedSource", request.source)
    taken = SOURCES[source].options
    own = {name: value for name, value in source_options.items() if name in taken}
    published = read_source(source, request.root, **own)
    if request.part:
        parts = sorted({image.part for image in published.images} - {""})
        if request.part not in parts:
            raise DatasetError(
                f"--test {request.source}/{request.part}: {published.name} under {request.root} "
                f"has the parts {', '.join(parts) or 'none'}."
            )
        chosen = tuple(image for image in published.images if image.part == request.part)
        published = replace(published, images=chosen)
    return relabel(published, source, "common"), is_synthetic_root(published.root)


def _read_prepared(request: TestRequest) -> tuple[PublishedSet, bool]:
    """Return all images of a set with splits of its own, whatever split they are in."""
    cells = read_prepared(request.root, use_masks=False)
    if cells is None:
        raise DatasetError(
            f"--test {PREPARED}={request.root}: there is neither manifest.csv, which "
            "experiments/prepare_wbc.py writes, nor the course bundle (WBC_100). Pass its folder, "
            "or name a published set: SOURCE=DIR."
        )
    images: list[PublishedImage] = []
    missing: Counter[str] = Counter()
    for sample in cells.samples:
        label = find_common_class(sample.label or "")
        if label is None:
            missing[sample.label or "no label"] += 1
        else:
            images.append(PublishedImage(sample.sample_id, label, sample.path, group=sample.group))
    left_out = dict(cells.left_out)
    left_out |= {f"no common counterpart: {name}": n for name, n in sorted(missing.items())}
    classes = tuple(dict.fromkeys(image.label for image in images))
    published = PublishedSet(
        cells.name, tuple(sorted(classes)), tuple(images), request.root, left_out=left_out
    )
    return published, cells.is_synthetic


def _require_unseen(request: TestRequest, samples: Sequence[Sample], seen: Collection[str]) -> None:
    known = [sample.sample_id for sample in samples if sample.sha256 in seen]
    if known:
        raise DatasetError(
            f"--test {request.name}: the run was trained or selected on {len(known)} of these "
            f"{len(samples)} images, first {known[0]!r}, so they say nothing about cells that are "
            "new to it. Pass another set, or a run that has not seen this one."
        )


def _keep_readable(samples: Sequence[Sample], *, skip_unreadable: bool) -> tuple[list[Sample], int]:
    paths = [sample.path for sample in samples]
    _, broken = split_readable(paths, raise_first=not skip_unreadable)
    if len(broken) == len(paths):
        raise DatasetError(f"None of {len(broken)} images can be read, first {broken[0]}.")
    return [sample for sample in samples if sample.path not in set(broken)], len(broken)


def _group(samples: Sequence[Sample], *, find_copies: bool) -> list[Sample]:
    """Return the samples with groups: the set's own, or what the pixels say, and same files."""
    told = [sample.group or sample.sample_id for sample in samples]
    others = [[sample.sha256 for sample in samples]]
    if find_copies and not any(sample.group for sample in samples):
        others.append(find_groups([sample.path for sample in samples]))
    groups = merge_groups(told, *others)
    return [replace(s, group=group) for s, group in zip(samples, groups, strict=True)]


def _path_of(image: PublishedImage) -> Path:
    if image.path is None:
        raise DatasetError(f"{image.image_id} is no file.")
    return image.path


def _hash_name(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
