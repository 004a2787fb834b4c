"""A data set as its authors publish it: labelled images, before splits are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from datasets.errors import DatasetError
from datasets.images import list_images
from datasets.taxonomy import Scheme, Split, classes_of, find_counterpart


@dataclass(frozen=True)
class PublishedImage:
    """One image with its label; either a file, or made from another file on demand.

    Attributes:
        image_id: Unique in its set and stable between machines: a relative path.
        label: Class name.
        path: The image file; None where `make` gives the image.
        make: Returns the image where it is no file, e.g. a crop or a row of an array.
        part: The published part that holds it, e.g. ``TestA``; empty if there are none.
        group: What the publication says must stay together (photograph, slide); empty if nothing.
        subtype: A finer class, where one is published.
        mask_path: Mask of the cell, where one is published.
    """

    image_id: str
    label: str
    path: Path | None = None
    make: Callable[[], Image.Image] | None = None
    part: str = ""
    group: str = ""
    subtype: str = ""
    mask_path: Path | None = None


@dataclass(frozen=True)
class PublishedSet:
    """All images of a published set.

    Attributes:
        name: What tables call the set.
        classes: Class names in the order of the label indices.
        images: All images of all parts.
        root: Folder that holds the image files.
        parts: The split that each published part is meant for; empty if none are published. Of
            several parts for one split the first is the usual one.
        left_out: Number of images that are not read, by reason.
        differences: Counts that are not the published ones, a readable line each.
    """

    name: str
    classes: tuple[str, ...]
    images: tuple[PublishedImage, ...]
    root: Path
    parts: Mapping[str, Split] = field(default_factory=lambda: MappingProxyType({}))
    left_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    differences: tuple[str, ...] = ()

    def count(self, part: str | None = None) -> dict[str, int]:
        """Return the number of images by class, of all parts or of one."""
        counts = Counter(i.label for i in self.images if part is None or i.part == part)
        return {name: counts[name] for name in self.classes}


def select_parts(published: PublishedSet, test_part: str | None, *, pool: bool) -> PublishedSet:
    """Return the set with one part for each split, or with all parts as one pool.

    Args:
        published: The set.
        test_part: The part to test on; None takes the usual one.
        pool: Forget the parts, so that splits are drawn from all images.

    Raises:
        DatasetError: `test_part` is no test part of the set, or is given together with `pool`, or
            there are no parts to pool.
    """
    choices = [part for part, split in published.parts.items() if split == "test"]
    if test_part is not None and (pool or test_part not in choices):
        allowed = ", ".join(choices) or "none"
        raise DatasetError(
            f"--test-part {test_part}: {published.name} has the test parts {allowed}. Pass one of "
            "them, and not together with --pool-parts."
        )
    if pool and not published.parts:
        raise DatasetError(f"--pool-parts: {published.name} is published as one pool already.")
    if not published.parts:
        return published
    if pool:
        return replace(
            published, images=tuple(replace(i, part="") for i in published.images), parts={}
        )
    chosen: dict[Split, str] = {} if test_part is None else {"test": test_part}
    for part, split in published.parts.items():
        if any(image.part == part for image in published.images):
            chosen.setdefault(split, part)
    kept = {part: split for split, part in chosen.items()}
    unused = Counter(image.part for image in published.images if image.part not in kept)
    return replace(
        published,
        images=tuple(image for image in published.images if image.part in kept),
        parts=kept,
        left_out={**published.left_out, **{f"part {name}": n for name, n in unused.items()}},
    )


def relabel(published: PublishedSet, source: str, scheme: Scheme) -> PublishedSet:
    """Return the set with each label replaced by its counterpart in `scheme`.

    The published label becomes the subtype where the set has none. Images without a counterpart
    are left out and counted by class.

    Raises:
        DatasetError: The scheme says nothing of this source.
    """
    images: list[PublishedImage] = []
    missing: Counter[str] = Counter()
    for image in published.images:
        label = find_counterpart(source, image.label, scheme)
        if label is None:
            missing[image.label] += 1
        else:
            images.append(replace(image, label=label, subtype=image.subtype or image.label))
    present = {image.label for image in images}
    return replace(
        published,
        classes=tuple(name for name in classes_of(scheme) if name in present),
        images=tuple(images),
        left_out={
            **published.left_out,
            **{f"no {scheme} counterpart: {name}": missing[name] for name in sorted(missing)},
        },
    )


def select_classes(
    published: PublishedSet, classes: Sequence[str], ignored: Sequence[str]
) -> PublishedSet:
    """Return the set with `classes` only (all, if empty) and without `ignored`.

    Raises:
        DatasetError: A name is no class of the set or stands twice, or none is left.
    """
    refuse_repeated(classes)
    known = {name.lower(): name for name in published.classes}
    for flag, names in (("--classes", classes), ("--ignore-classes", ignored)):
        unknown = [name for name in names if name.lower() not in known]
        if unknown:
            raise DatasetError(
                f"{flag} {' '.join(unknown)}: {published.name} has the classes "
                f"{', '.join(published.classes)}."
            )
    dropped = {name.lower() for name in ignored}
    kept = tuple(
        known[name.lower()]
        for name in (classes or published.classes)
        if name.lower() not in dropped
    )
    if not kept:
        raise DatasetError("--classes and --ignore-classes leave no class.")
    counts = published.count()
    return replace(
        published,
        classes=kept,
        images=tuple(image for image in published.images if image.label in kept),
        left_out={
            **published.left_out,
            **{f"class {name}": n for name, n in counts.items() if name not in kept and n},
        },
    )


def refuse_repeated(classes: Sequence[str]) -> None:
    """Raise where a class is asked for twice.

    Raises:
        DatasetError: Naming it.
    """
    repeated = [name for name, n in Counter(map(str.lower, classes)).items() if n > 1]
    if repeated:
        raise DatasetError(f"--classes names {repeated[0]} more than once; case does not count.")


def drop_absent_classes(published: PublishedSet) -> tuple[PublishedSet, list[str]]:
    """Return the set without the classes that it has no image of, and the names of those.

    A part of a set, or another set in its layout, lacks some of the published classes.
    """
    counts = published.count()
    absent = [name for name in published.classes if not counts[name]]
    kept = tuple(name for name in published.classes if counts[name])
    return replace(published, classes=kept), absent


def list_class_images(
    folder: Path, class_of_folder: Mapping[str, str], layout: str
) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the image files by class, and a line for each folder that should not be there.

    Folder names are matched without regard to case; a missing class folder counts as empty.

    Args:
        folder: Holds one folder a class.
        class_of_folder: Class of each folder name.
        layout: The published layout in words, for the error message.

    Raises:
        DatasetError: `folder` holds none of the class folders.
    """
    known = {name.lower(): label for name, label in class_of_folder.items()}
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    folders = [path for path in inside if path.is_dir() and not path.name.startswith(".")]
    images: dict[str, list[Path]] = {label: [] for label in class_of_folder.values()}
    found = False
    differences = []
    for path in folders:
        label = known.get(path.name.lower())
        if label is None:
            differences.append(f"{path.name}: a folder that the publication lacks, not read")
        else:
            found = True
            images[label] += list_images(path)
    if not found:
        names = ", ".join(path.name for path in folders) or "no folders"
        raise DatasetError(f"{folder} holds {names}. Expected {layout}. See README, Data.")
    return images, differences


def compare_counts(where: str, found: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """Return a line for each class whose number of files is not the published one."""
    return [
        f"{where}{name}: {found.get(name, 0)} files, published {expected}"
        for name, expected in published.items()
        if found.get(name, 0) != expected
    ]


def find_folder(root: Path, *inner: str) -> Path:
    """Return the first of `inner` that is a folder in `root`, else `root` itself."""
    return next((root / name for name in inner if (root / name).is_dir()), root)
