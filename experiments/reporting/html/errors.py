"""The most confident errors of a model, with their images where these can be found."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import pandas as pd
from PIL import ImageOps

from datasets.errors import DatasetError, UnreadableImageError
from datasets.image_files import DECODE_ERRORS, open_image
from datasets.image_roots import ImageRoot, allowed_folders, find_stated_root, is_below
from datasets.manifest import MANIFEST_NAME
from datasets.safe_json import read_json_object
from experiments.reporting.html.entries import Entry
from experiments.reporting.load_runs import FinishedRun

MAX_ERRORS: Final = 8
"""Of a model, with image or without."""

_SIDE: Final = 112
_QUALITY: Final = 82
_MAX_INDEXED: Final = 500_000


@dataclass(frozen=True)
class ConfidentError:
    """An image that a model misreads.

    Attributes:
        sample_id: Of the image.
        label: Its class.
        pred: What the most confident of the misreading runs takes it for.
        prob: Probability that this run gives to `pred`.
        num_wrong: Runs that misread it.
    """

    sample_id: str
    label: str
    pred: str
    prob: float
    num_wrong: int


def rank_errors(entry: Entry) -> list[ConfidentError]:
    """Return all misread images, those first that the seeds together are surest of.

    They are ordered by the mean over seeds of the probability of the class that was named; a seed
    that names the right class counts 0.
    """
    parts = []
    for frame in entry.frames:
        columns = [name for name in frame.columns if name.startswith("prob_")]
        wrong = frame[frame["pred"] != frame["label"]]
        parts.append(wrong.assign(prob=wrong[columns].max(axis=1)))
    wrong = pd.concat(parts)[["sample_id", "label", "pred", "prob"]]
    found = []
    for sample_id, rows in wrong.groupby("sample_id", sort=True):
        surest = rows.sort_values("prob", ascending=False, kind="stable").iloc[0]
        error = ConfidentError(
            str(sample_id), surest["label"], surest["pred"], float(surest["prob"]), len(rows)
        )
        found.append((-float(rows["prob"].sum()), error))
    found.sort(key=lambda ranked: ranked[0])
    return [error for _, error in found]


class Thumbnails:
    """Finds and shrinks the test images of runs, by the data root that their options name."""

    def __init__(self) -> None:
        self._found: dict[tuple[Path, str], bytes | None] = {}
        self._indices: dict[Path, dict[str, list[str]]] = {}
        self._manifests: dict[Path, tuple[Path, dict[str, str]] | None] = {}

    def find(self, run: FinishedRun, sample_id: str) -> bytes | None:
        """Return a JPEG of at most 112 pixels a side; None where the image cannot be found."""
        for root in _candidate_roots(run):
            if (root, sample_id) not in self._found:
                path = self._locate(root, sample_id)
                self._found[root, sample_id] = _shrink(path) if path else None
            if self._found[root, sample_id] is not None:
                return self._found[root, sample_id]
        return None

    def _locate(self, root: Path, sample_id: str) -> Path | None:
        if root not in self._manifests:
            self._manifests[root] = _read_manifest(root)
        manifest = self._manifests[root]
        if manifest is not None:
            images, paths = manifest
            return _join(images, paths.get(sample_id, sample_id))
        direct = _join(root, sample_id)
        if direct is not None:
            return direct
        if root not in self._indices:
            self._indices[root] = _index(root)
        # Data sets are nested in folders of their own that sample ids leave out.
        ends = [
            path
            for path in self._indices[root].get(PurePosixPath(sample_id).name, [])
            if path.endswith(f"/{sample_id}")
        ]
        return _join(root, ends[0]) if len(ends) == 1 else None


def _candidate_roots(run: FinishedRun) -> Sequence[Path]:
    """Return folders that the run's data root may be, below here or below where its runs lie."""
    named = run.config.get("options", {}).get("data_root")
    if not isinstance(named, str) or not named or "\0" in named:
        return []
    bases = [Path(), *run.path.resolve().parents]
    found = dict.fromkeys(p for base in bases if (p := base / named).is_dir())
    allowed = allowed_folders()
    return [p for p in found if allowed is None or is_below(p.resolve(), allowed)]


def _read_manifest(root: Path) -> tuple[Path, dict[str, str]] | None:
    """Return the folder of a prepared set's images, and their paths by sample id."""
    if not (root / MANIFEST_NAME).is_file():
        return None
    try:
        info = read_json_object((root / MANIFEST_NAME).with_suffix(".json"))
        rows = pd.read_csv(root / MANIFEST_NAME, dtype=str, keep_default_na=False)
        paths = dict(zip(rows["sample_id"], rows["path"], strict=True))
        return find_stated_root(str(info.get("image_root", ".")), root, root), paths
    except (OSError, ValueError, KeyError, DatasetError):
        return None


def _join(root: Path, name: str) -> Path | None:
    """Return the file below `root`; a name from a table must not lead out of it."""
    try:
        return ImageRoot(root).find(name, "", "")
    except DatasetError:
        return None


def _index(root: Path) -> dict[str, list[str]]:
    """Return the paths of files below `root`, each with a leading slash, by their names."""
    by_name: dict[str, list[str]] = defaultdict(list)
    number = 0
    for folder, _, names in os.walk(root):
        number += len(names)
        if number > _MAX_INDEXED:
            return {}
        for name in names:
            relative = Path(folder, name).relative_to(root).as_posix()
            by_name[name].append(f"./{relative}")
    return by_name


def _shrink(path: Path) -> bytes | None:
    try:
        with open_image(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((_SIDE, _SIDE))
            buffer = io.BytesIO()
            upright.save(buffer, format="JPEG", quality=_QUALITY)
            return buffer.getvalue()
    except (*DECODE_ERRORS, UnreadableImageError):
        return None
