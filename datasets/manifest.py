"""The manifest CSV, in which a sample set with its splits and label subsets is frozen as a file."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from datasets.errors import DatasetError
from datasets.files import sync, write_whole
from datasets.image_roots import ImageRoot, allowed_folders, find_stated_root
from datasets.safe_json import read_json_object
from datasets.samples import ALL_PERCENTS, Sample, SampleSet, percents_from
from datasets.taxonomy import LABEL_PERCENTS, SPLITS

MANIFEST_NAME: Final = "manifest.csv"
MANIFEST_INFO_NAME: Final = "manifest.json"
MANIFEST_COLUMNS: Final = ("sample_id", "path", "label", "split", "group", "subset", "sha256")


OPTIONAL_COLUMNS: Final = ("subtype", "mask", "mask_sha256")
"""Written where a set has them."""

_MOVED: Final = "If the images were moved, prepare the set again."
_TEXT_LISTS: Final = frozenset({"classes", "skipped"})
_INFO_KINDS: Final[Mapping[str, type]] = {
    "name": str, "classes": list, "image_root": str, "pack_dir": str, "skipped": list,
    "left_out": dict,
}  # fmt: skip


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
    training split. A kill leaves the earlier set, this one, or no ``manifest.csv``, which is none;
    a failure the earlier set.

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
    table_path, info_path = folder / MANIFEST_NAME, folder / MANIFEST_INFO_NAME
    with write_whole(table_path) as table, write_whole(info_path) as described:
        content = {**info, "image_root": _format_root(image_root, folder, out or folder)}
        described.write_text(json.dumps(content, indent=2) + "\n")
        with table.open("w", newline="") as file:
            columns = (*MANIFEST_COLUMNS, *used)
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        for written in (table, described):
            sync(written)
        # Between the two names there must not be an earlier table beside a new description.
        table_path.unlink(missing_ok=True)
    return table_path


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

    Without the JSON file beside it the paths are taken as relative to the manifest's folder. No
    path leads out of the image root, see `datasets.image_roots`.

    Args:
        source: The folder of ``manifest.csv``, or a manifest of any name.

    Raises:
        DatasetError: Columns or rows are missing, a value is not allowed, an id stands twice, a
            path leads out of the image root or to no file, or the JSON file is broken.
    """
    manifest_path = source if source.is_file() else source / MANIFEST_NAME
    folder = manifest_path.parent
    info_path = manifest_path.with_suffix(".json")
    info = _read_info(info_path)
    # Several draws lie in one prepared folder and share its images and packs.
    is_draw = info.get("pack_dir") == ".." and folder.resolve().name.startswith("draw-")
    # In sets of strangers that is for the environment to allow.
    own = folder / ".." if is_draw and allowed_folders() is None else folder
    image_root = find_stated_root(info.get("image_root", "."), folder, own)
    pack_dir = find_stated_root(info.get("pack_dir", "."), folder, own)
    try:
        samples = _read_rows(manifest_path, image_root, pack_dir)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
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
        name=info.get("name", folder.resolve().name),
        classes=tuple(classes),
        samples=tuple(samples),
        is_synthetic=bool(info.get("synthetic", False)),
        skipped=tuple(info.get("skipped", ())),
        left_out=tuple(sorted(info.get("left_out", {}).items())),
        has_published_test=bool(info.get("has_published_test", False)),
    )


def _read_info(path: Path) -> dict[str, Any]:
    """Return the entries of a manifest's JSON file, each of the kind that it must have."""
    if not path.is_file():
        return {}
    try:
        info = read_json_object(path)
    except ValueError as error:
        raise DatasetError(f"{error} Prepare the set again.") from error
    for name, kind in _INFO_KINDS.items():
        value = info.get(name, kind())
        texts = value if name in _TEXT_LISTS and isinstance(value, list) else []
        if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
            raise DatasetError(
                f"{path}: {name} is {str(value)[:60]!r}, expected a {kind.__name__}"
                f"{' of str' if name in _TEXT_LISTS else ''}. Prepare the set again."
            )
    return info


def _read_rows(manifest_path: Path, image_root: Path, pack_dir: Path) -> list[Sample]:
    # Excel writes a byte order mark.
    with manifest_path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        missing = [name for name in MANIFEST_COLUMNS if name not in (reader.fieldnames or ())]
        if missing and any(";" in name for name in reader.fieldnames or ()):
            raise DatasetError(
                f"{manifest_path}: its columns are separated by semicolons; the separator must be "
                "a comma. Save it again as CSV with commas."
            )
        if missing:
            raise DatasetError(
                f"{manifest_path} lacks the column(s) {', '.join(missing)}. Expected "
                f"{', '.join(MANIFEST_COLUMNS)}, as experiments/prepare_wbc.py writes them."
            )
        images = ImageRoot(image_root)
        samples = []
        try:
            for row in reader:
                sample = _parse_row(row, images, f"{manifest_path}, line {reader.line_num}")
                samples.append(replace(sample, pack_dir=pack_dir))
        except csv.Error as error:
            reason = "field too long" if "field limit" in str(error) else error
            raise DatasetError(
                f"{manifest_path}, line {reader.reader.line_num}: {reason}. Is a quotation mark "
                "not closed? Prepare the set again."
            ) from error
    if not samples:
        raise DatasetError(f"{manifest_path} has no rows below its header. Prepare the set again.")
    return samples


def _parse_row(row: dict[str, str], images: ImageRoot, where: str) -> Sample:
    if not row["path"]:
        raise DatasetError(f"{where}: path is empty. Name an image, or remove the line.")
    path = images.find(row["path"], where, _MOVED)
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
        mask_path=images.find(mask, where, _MOVED) if mask else None,
        mask_sha256=(row.get("mask_sha256") or "") if mask else "",
    )
