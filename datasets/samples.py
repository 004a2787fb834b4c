"""A sample, a set of samples, and the manifest CSV in which a set is frozen as a file."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.taxonomy import LABEL_PERCENTS, SPLITS, LabelPercent, Split

MANIFEST_NAME: Final = "manifest.csv"
MANIFEST_INFO_NAME: Final = "manifest.json"
MANIFEST_COLUMNS: Final = ("sample_id", "path", "label", "split", "group", "subset", "sha256")
ALL_PERCENTS: Final = frozenset(LABEL_PERCENTS)


@dataclass(frozen=True)
class Sample:
    """One image of a data set, or one image multiplied by its mask.

    Attributes:
        sample_id: Unique in its set and stable between machines, e.g. ``basophil/BA_1.jpg``.
        path: The image file.
        label: Class name; None in an unlabelled set.
        split: train, val or test.
        group: What must not straddle splits: a patient, photograph or duplicate cluster.
        sha256: Hash of the image file.
        label_percents: Label subsets (1, 10, 50, 100) that hold this training sample.
        mask_path: If set, the sample is the image with everything outside the mask black.
        mask_sha256: Hash of the mask file, empty without one.
    """

    sample_id: str
    path: Path
    label: str | None
    split: Split
    group: str
    sha256: str
    label_percents: frozenset[LabelPercent] = ALL_PERCENTS
    mask_path: Path | None = None
    mask_sha256: str = ""

    @property
    def content_key(self) -> str:
        """Hash of what an encoder sees: the same pixels have the same features."""
        return f"{self.sha256}+{self.mask_sha256}" if self.mask_sha256 else self.sha256


@dataclass(frozen=True)
class SampleSet:
    """The samples of one data set with their splits.

    Attributes:
        name: What tables call the set.
        classes: Class names in the order of the label indices; empty without labels.
        samples: All samples of all splits.
        is_synthetic: Results on it are stamped and never share a table with real ones.
        skipped: Unreadable files that were left out on request.
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    is_synthetic: bool = False
    skipped: tuple[str, ...] = ()

    def of_split(self, split: Split, label_percent: LabelPercent = 100) -> list[Sample]:
        """Return the samples of `split`; of train, only those in the label subset."""
        return [
            sample
            for sample in self.samples
            if sample.split == split
            and (split != "train" or label_percent in sample.label_percents)
        ]

    def count(self, split: Split, label_percent: LabelPercent = 100) -> dict[str, int]:
        """Return the number of samples by class; an unlabelled set counts as ``all``."""
        counts = Counter(sample.label for sample in self.of_split(split, label_percent))
        if not self.classes:
            return {"all": counts.total()}
        return {name: counts[name] for name in self.classes}

    def count_groups(self, split: Split, label_percent: LabelPercent = 100) -> int:
        """Return the number of independent groups in `split`."""
        return len({sample.group for sample in self.of_split(split, label_percent)})

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every sample's identity, label, split, subsets and content."""
        digest = hashlib.sha256()
        for sample in sorted(self.samples, key=lambda sample: sample.sample_id):
            subsets = ",".join(map(str, sorted(sample.label_percents)))
            row = (sample.sample_id, sample.label, sample.split, subsets, sample.content_key)
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()

    def require_all_classes(self, label_percent: LabelPercent = 100) -> None:
        """Raise where a split could not be trained on or scored.

        Raises:
            DatasetError: A split is empty, or a class has no image in a split.
        """
        for split in SPLITS:
            empty = [name for name, n in self.count(split, label_percent).items() if n == 0]
            if empty:
                subset = f" ({label_percent} % of the labels)" if split == "train" else ""
                raise DatasetError(
                    f"{self.name}: no {split} images{subset} of {', '.join(empty)}. Every class "
                    f"needs at least one image in each of {', '.join(SPLITS)}. Add images, or "
                    "draw new splits with experiments/prepare_wbc.py."
                )

    def require_separate_groups(self) -> None:
        """Raise where a group, or the same file, is in two splits.

        Raises:
            DatasetError: Naming the group and a sample of it in each split.
        """
        first_of: dict[str, Sample] = {}
        for sample in self.samples:
            for name in (f"group {sample.group}", f"file content {sample.sha256}"):
                first = first_of.setdefault(name, sample)
                if first.split != sample.split:
                    raise DatasetError(
                        f"{self.name}: {name[:60]} is in two splits: {first.sample_id} in "
                        f"{first.split}, {sample.sample_id} in {sample.split}. Groups must not "
                        "straddle splits; remove one of them or draw the splits again."
                    )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(
    folder: Path, samples: Iterable[Sample], image_root: Path, info: dict[str, object]
) -> Path:
    """Write ``manifest.csv`` and, beside it, ``manifest.json`` (`info` and the image root).

    The column ``path`` is relative to `image_root`; ``subset`` is the smallest label percent
    that holds a training sample (subsets are nested), and empty outside the training split.
    """
    rows = [
        (
            sample.sample_id,
            sample.path.relative_to(image_root).as_posix(),
            sample.label or "",
            sample.split,
            sample.group,
            min(sample.label_percents) if sample.split == "train" else "",
            sample.sha256,
        )
        for sample in samples
    ]
    with write_whole(folder / MANIFEST_INFO_NAME) as temporary:
        content = {**info, "image_root": str(image_root.resolve())}
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    with write_whole(folder / MANIFEST_NAME) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows(rows)
    return folder / MANIFEST_NAME


def read_manifest(folder: Path) -> SampleSet:
    """Return the set that `write_manifest` froze in `folder`.

    Without ``manifest.json`` the paths are taken as relative to `folder`.

    Raises:
        DatasetError: Columns are missing, a value is not allowed, an id stands twice, or a path
            leads out of the image root or to no file.
    """
    info_path = folder / MANIFEST_INFO_NAME
    try:
        info = json.loads(info_path.read_text()) if info_path.is_file() else {}
    except ValueError as error:
        raise DatasetError(f"{info_path} is not JSON ({error}). Prepare the set again.") from error
    image_root = Path(info.get("image_root", folder))
    manifest_path = folder / MANIFEST_NAME
    try:
        samples = _read_rows(manifest_path, image_root)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{manifest_path} is not a CSV file in UTF-8 ({error}).") from error
    twice = [name for name, n in Counter(s.sample_id for s in samples).items() if n > 1]
    if twice:
        raise DatasetError(f"{manifest_path}: sample_id {twice[0]!r} stands more than once.")
    classes = info.get("classes") or sorted({sample.label for sample in samples if sample.label})
    unknown = sorted({sample.label for sample in samples if sample.label} - set(classes))
    if unknown:
        raise DatasetError(
            f"{manifest_path} holds the label {unknown[0]!r}, which is none of the classes in "
            f"{info_path.name}: {', '.join(classes)}."
        )
    return SampleSet(
        name=str(info.get("name", folder.resolve().name)),
        classes=tuple(classes),
        samples=tuple(samples),
        is_synthetic=bool(info.get("synthetic", False)),
        skipped=tuple(info.get("skipped", ())),
    )


def _read_rows(manifest_path: Path, image_root: Path) -> list[Sample]:
    with manifest_path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restval="")
        missing = [name for name in MANIFEST_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DatasetError(
                f"{manifest_path} lacks the column(s) {', '.join(missing)}. Expected "
                f"{', '.join(MANIFEST_COLUMNS)}, as experiments/prepare_wbc.py writes them."
            )
        return [
            _parse_row(row, image_root, f"{manifest_path}, line {reader.line_num}")
            for row in reader
        ]


def _parse_row(row: dict[str, str], image_root: Path, where: str) -> Sample:
    relative = PurePosixPath(row["path"])
    if relative.is_absolute() or ".." in relative.parts:
        raise DatasetError(f"{where}: path {row['path']!r} leads out of {image_root}.")
    path = image_root / relative
    if not path.is_file():
        raise DatasetError(
            f"{where}: no file {path}. If the images were moved, prepare the set again."
        )
    split = row["split"]
    if split not in SPLITS:
        raise DatasetError(f"{where}: split {split!r} is none of {', '.join(SPLITS)}.")
    subset = row["subset"]
    if split == "train" and subset not in map(str, LABEL_PERCENTS):
        allowed = ", ".join(map(str, LABEL_PERCENTS))
        raise DatasetError(f"{where}: subset {subset!r} of a training row is none of {allowed}.")
    return Sample(
        sample_id=row["sample_id"],
        path=path,
        label=row["label"] or None,
        split=split,
        group=row["group"],
        sha256=row["sha256"],
        label_percents=percents_from(int(subset)) if split == "train" else ALL_PERCENTS,
    )


def percents_from(smallest: int) -> frozenset[LabelPercent]:
    """Return the nested label subsets that hold a sample of the subset `smallest`."""
    return frozenset(percent for percent in LABEL_PERCENTS if percent >= smallest)


def limit_training(sample_set: SampleSet, num_images: int | None) -> SampleSet:
    """Return the set with at most `num_images` training samples.

    Classes keep their shares and at least one image, and smaller label subsets are kept first, so
    the limited subsets are still nested.

    Raises:
        DatasetError: `num_images` is smaller than the number of classes.
    """
    if num_images is None:
        return sample_set
    if num_images < max(1, len(sample_set.classes)):
        raise DatasetError(
            f"--max-train-images {num_images} leaves no image of some classes; it must be at "
            f"least {max(1, len(sample_set.classes))}."
        )
    kept = {sample.sample_id for sample in _pick_evenly(sample_set.of_split("train"), num_images)}
    samples = tuple(s for s in sample_set.samples if s.split != "train" or s.sample_id in kept)
    return replace(sample_set, samples=samples)


def _pick_evenly(samples: Sequence[Sample], num_images: int) -> list[Sample]:
    queues: dict[str | None, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: (min(s.label_percents), s.sample_id)):
        queues.setdefault(sample.label, []).append(sample)
    ranked = [
        (rank / len(queue), sample.sample_id, sample)
        for queue in queues.values()
        for rank, sample in enumerate(queue)
    ]
    return [sample for _, _, sample in sorted(ranked, key=lambda entry: entry[:2])[:num_images]]
