"""The manifest CSV, in which a sample set with its splits and label subsets is frozen as a file."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.samples import ALL_PERCENTS, Sample, SampleSet, percents_from
from datasets.taxonomy import LABEL_PERCENTS, SPLITS

MANIFEST_NAME: Final = "manifest.csv"
MANIFEST_INFO_NAME: Final = "manifest.json"
MANIFEST_COLUMNS: Final = ("sample_id", "path", "label", "split", "group", "subset", "sha256")


OPTIONAL_COLUMNS: Final = ("subtype", "mask", "mask_sha256")
"""Written where a set has them."""


def write_manifest(
    folder: Path,
    samples: Iterable[Sample],
    image_root: Path,
    info: Mapping[str, object],
    subtypes: Mapping[str, str] | None = None,
    out: Path | None = None,
) -> Path:
    """Write ``manifest.csv`` and, beside it, ``manifest.json`` (`info` and the image root).

    The columns ``path`` and ``mask`` are relative to `image_root`, which is itself written as
    relative to `folder` where it lies inside `out`, so that `out` may be moved; ``subset`` is the
    smallest label percent that holds a training sample (subsets are nested), and empty outside the
    training split.

    Args:
        folder: Where the files go.
        samples: One a row.
        image_root: Folder of the images.
        info: Entries of ``manifest.json``.
        subtypes: Subtype of the samples that have one, by sample id.
        out: The whole prepared folder, if it is not `folder` itself.
    """
    subtypes = subtypes or {}
    rows = [_format_row(sample, image_root, subtypes) for sample in samples]
    used = [name for name in OPTIONAL_COLUMNS if any(row[name] for row in rows)]
    with write_whole(folder / MANIFEST_INFO_NAME) as temporary:
        content = {**info, "image_root": _format_root(image_root, folder, out or folder)}
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    with write_whole(folder / MANIFEST_NAME) as temporary, temporary.open("w", newline="") as file:
        columns = (*MANIFEST_COLUMNS, *used)
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder / MANIFEST_NAME


def _format_row(sample: Sample, image_root: Path, subtypes: Mapping[str, str]) -> dict[str, object]:
    mask = sample.mask_path
    return {
        "sample_id": sample.sample_id,
        "path": sample.path.relative_to(image_root).as_posix(),
        "label": sample.label or "",
        "split": sample.split,
        "group": sample.group,
        "subset": min(sample.label_percents) if sample.split == "train" else "",
        "sha256": sample.sha256,
        "subtype": subtypes.get(sample.sample_id.removesuffix("#masked"), ""),
        "mask": mask.relative_to(image_root).as_posix() if mask else "",
        "mask_sha256": sample.mask_sha256,
    }


def _format_root(image_root: Path, folder: Path, out: Path) -> str:
    root = image_root.resolve()
    if out.resolve() in (root, *root.parents):
        return Path(os.path.relpath(root, folder.resolve())).as_posix()
    return str(root)


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
    image_root = folder / info.get("image_root", ".")
    pack_dir = folder / info.get("pack_dir", ".")
    try:
        samples = _read_rows(manifest_path, image_root, pack_dir)
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
        left_out=tuple(sorted(info.get("left_out", {}).items())),
        has_published_test=bool(info.get("has_published_test", False)),
    )


def _read_rows(manifest_path: Path, image_root: Path, pack_dir: Path) -> list[Sample]:
    with manifest_path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restval="")
        missing = [name for name in MANIFEST_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DatasetError(
                f"{manifest_path} lacks the column(s) {', '.join(missing)}. Expected "
                f"{', '.join(MANIFEST_COLUMNS)}, as experiments/prepare_wbc.py writes them."
            )
        return [
            replace(
                _parse_row(row, image_root, f"{manifest_path}, line {reader.line_num}"),
                pack_dir=pack_dir,
            )
            for row in reader
        ]


def _parse_row(row: dict[str, str], image_root: Path, where: str) -> Sample:
    path = _find_file(row["path"], image_root, where)
    mask = row.get("mask") or ""
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
        mask_path=_find_file(mask, image_root, where) if mask else None,
        mask_sha256=(row.get("mask_sha256") or "") if mask else "",
    )


def _find_file(name: str, image_root: Path, where: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise DatasetError(f"{where}: path {name!r} leads out of {image_root}.")
    path = image_root / relative
    if not path.is_file():
        raise DatasetError(
            f"{where}: no file {path}. If the images were moved, prepare the set again."
        )
    return path
