"""The manifest CSV, in which a sample set with its splits and label subsets is frozen as a file."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.samples import ALL_PERCENTS, Sample, SampleSet, percents_from
from datasets.taxonomy import LABEL_PERCENTS, SPLITS

MANIFEST_NAME: Final = "manifest.csv"
MANIFEST_INFO_NAME: Final = "manifest.json"
MANIFEST_COLUMNS: Final = ("sample_id", "path", "label", "split", "group", "subset", "sha256")


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


def read_manifest(source: Path) -> SampleSet:
    """Return the set that `write_manifest` froze.

    Without the JSON file beside it the paths are taken as relative to the manifest's folder.

    Args:
        source: The folder of ``manifest.csv``, or a manifest of any name.

    Raises:
        DatasetError: Columns are missing, a value is not allowed, an id stands twice, or a path
            leads out of the image root or to no file.
    """
    manifest_path = source if source.is_file() else source / MANIFEST_NAME
    folder = manifest_path.parent
    info_path = manifest_path.with_suffix(".json")
    try:
        info = json.loads(info_path.read_text()) if info_path.is_file() else {}
    except ValueError as error:
        raise DatasetError(f"{info_path} is not JSON ({error}). Prepare the set again.") from error
    image_root = Path(info.get("image_root", folder))
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
