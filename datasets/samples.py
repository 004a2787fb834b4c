"""A sample, and a set of samples with its splits and label subsets."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.taxonomy import LABEL_PERCENTS, SPLITS, LabelPercent, Split

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
        pack_dir: Folder that may hold the decoded image in a pack.
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
    pack_dir: Path | None = None

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
        left_out: Reason and number of images that the source has and this set leaves out.
        has_published_test: The test split is the authors', who need not have every class in it.
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    is_synthetic: bool = False
    skipped: tuple[str, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    has_published_test: bool = False

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

    def share_with_sibling(self, split: Split) -> float:
        """Return the share of images of `split` whose group stands in the training split too."""
        trained = {sample.group for sample in self.of_split("train")}
        samples = self.of_split(split)
        return sum(sample.group in trained for sample in samples) / max(1, len(samples))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every sample's identity, label, split, subsets and content."""
        digest = hashlib.sha256()
        for sample in sorted(self.samples, key=lambda sample: sample.sample_id):
            subsets = ",".join(map(str, sorted(sample.label_percents)))
            row = (sample.sample_id, sample.label, sample.split, subsets, sample.content_key)
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()

    def without_labels(self) -> SampleSet:
        """Return the same images and splits as an unlabelled set."""
        return replace(
            self, classes=(), samples=tuple(replace(s, label=None) for s in self.samples)
        )

    def require_all_classes(
        self,
        label_percent: LabelPercent = 100,
        advice: str = "Add images, or draw new splits with experiments/prepare_wbc.py.",
    ) -> None:
        """Raise where a split could not be trained on or scored.

        A published test split may lack classes; its scores are restricted then.

        Args:
            label_percent: Share of the training labels.
            advice: What the user can do.

        Raises:
            DatasetError: A split is empty, or a class has no image in a split.
        """
        for split in SPLITS:
            counts = self.count(split, label_percent)
            empty = [name for name, n in counts.items() if n == 0]
            if split == "test" and self.has_published_test and any(counts.values()):
                continue
            if empty:
                subset = f" ({label_percent} % of the labels)" if split == "train" else ""
                raise DatasetError(
                    f"{self.name}: no {split} images{subset} of {', '.join(empty)}. Every class "
                    f"needs at least one image in each of {', '.join(SPLITS)}. {advice}"
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
    """Return the SHA-256 of a file's bytes as 64 hex digits.

    Raises:
        DatasetError: It is a pipe or a device, which may never end.
    """
    if path.exists() and not path.is_file():
        raise DatasetError(f"{path} is no regular file. Remove it.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
