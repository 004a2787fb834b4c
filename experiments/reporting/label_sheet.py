"""The label check as text, as labels.csv and as a contact sheet of what contradicts its label."""

# N images, K classes

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.files import write_whole
from datasets.label_noise import Suspect, beats_commonest, find_unnamed
from experiments.reporting.cluster_sheet import (
    COLUMNS,
    ImageGroup,
    arrange_in_rows,
    draw_groups,
)

LABELS: Final = "labels.csv"
SHEET: Final = "labels.png"

_WIDTH: Final = 80
_MAX_LISTED: Final = 8
_MAX_ROWS: Final = 10
_MAX_GROUPS: Final = 40
_THUMBNAIL: Final = (160, 160)
_TOO_WEAK: Final = (
    "",
    "That is no more than naming the commonest class always would reach: where such",
    "a model contradicts a label, it means nothing, and none is listed. Pass a",
    "better run, or the images with --backbone-weights pretrained.",
)
_ARROW: Final = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True)
class CheckedImage:
    """An image whose label is checked.

    Attributes:
        name: Path of the file, or the sample id in a run.
        label: Class name.
        split: train, val, test, or empty.
        group: That no fold divides.
    """

    name: str
    label: str
    split: str
    group: str


@dataclass(frozen=True)
class LabelCheck:
    """What was found.

    Attributes:
        images: N, all that were looked at.
        classes: K names.
        probs: Out-of-fold (N, K); NaN where nothing can be said.
        suspects: The strongest contradiction first.
        method: Where the predictions come from, in words.
        skipped: Files that do not decode.
        open_picture: Gives the picture of an image by its index, or None.
        is_synthetic: Whether the images are.
    """

    images: Sequence[CheckedImage]
    classes: Sequence[str]
    probs: NDArray[np.float64]
    suspects: Sequence[Suspect]
    method: str
    skipped: Sequence[str]
    open_picture: Callable[[int], Image.Image | None]
    is_synthetic: bool = False


def format_labels(check: LabelCheck) -> str:
    """Return the check as text of at most 80 columns."""
    judged = np.isfinite(check.probs).all(axis=1)
    labels = np.array([check.classes.index(image.label) for image in check.images])
    agree = (check.probs[judged].argmax(axis=1) == labels[judged]).mean() if judged.any() else 0.0
    lines = [
        f"{judged.sum()} of {len(check.images)} labels checked"
        f"{', SYNTHETIC images' if check.is_synthetic else ''} by",
        f"{check.method};"[:_WIDTH],
        f"they agree with {100 * agree:.1f} %.",
    ]
    without = Counter(check.images[index].label for index in np.flatnonzero(~judged).tolist())
    if without:
        names = ", ".join(f"{name} ({number})" for name, number in sorted(without.items()))
        lines.append(f"Not judged, too few independent images: {names}"[:_WIDTH])
    if check.skipped:
        lines.append(f"{len(check.skipped)} unreadable file(s) left out.")
    unnamed = find_unnamed(check.probs, labels.tolist())
    if not beats_commonest(check.probs, labels.tolist()):
        return "\n".join([*lines, *_TOO_WEAK])
    if unnamed:
        names = ", ".join(check.classes[index] for index in unnamed)
        lines.append(f"Not judged, never named by the model: {names}"[:_WIDTH])
    if not check.suspects:
        return "\n".join([*lines, "No label is strongly contradicted."])
    lines += ["", f"{len(check.suspects)} LABELS TO LOOK AT, strongly contradicted by their image:"]
    pairs = Counter((check.classes[s.label], check.classes[s.pred]) for s in check.suspects)
    for (label, pred), number in pairs.most_common(_MAX_LISTED):
        lines.append(f"{number:6d}  {label}, looks like {pred}"[:_WIDTH])
    lines += ["", "The strongest:"]
    for suspect in check.suspects[:_MAX_LISTED]:
        said, seen = check.classes[suspect.label], check.classes[suspect.pred]
        lines.append(f"  {said} {suspect.label_prob:.2f}, {seen} {suspect.pred_prob:.2f}:"[:_WIDTH])
        lines.append(f"    ...{check.images[suspect.index].name[-70:]}")
    if len(check.suspects) > _MAX_LISTED:
        lines.append(f"  and {len(check.suspects) - _MAX_LISTED} more; --out writes them all")
    return "\n".join(lines)


def write_labels(folder: Path, check: LabelCheck) -> None:
    """Write ``labels.csv``, a row a suspect, and ``labels.png``, whole or not at all."""
    columns = ["image", "label", "looks_like", "label_prob", "looks_like_prob", "split", "group"]
    with write_whole(folder / LABELS) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for s in check.suspects:
            image = check.images[s.index]
            probs = [f"{s.label_prob:.4f}", f"{s.pred_prob:.4f}"]
            names = [image.name, image.label, check.classes[s.pred]]
            writer.writerow([*names, *probs, image.split, image.group])
    sheet = _draw_sheet(check)
    with write_whole(folder / SHEET) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def _draw_sheet(check: LabelCheck) -> NDArray[np.uint8]:
    """Return the suspects by pair of classes, the largest pairs first."""
    pairs: dict[tuple[int, int], list[Suspect]] = defaultdict(list)
    for suspect in check.suspects:
        pairs[suspect.label, suspect.pred].append(suspect)
    ranked = sorted(pairs.values(), key=lambda found: -len(found))[:_MAX_GROUPS]
    groups = [group for found in ranked if (group := _picture_pair(check, found))]
    rows = arrange_in_rows([len(group.images) for group in groups], _MAX_ROWS)
    shown = sum(len(groups[index].images) for row in rows for index in row)
    stamp = ", SYNTHETIC" if check.is_synthetic else ""
    return draw_groups(
        [[groups[index] for index in row] for row in rows],
        f"{shown} of {len(check.suspects)} images that contradict their label: the label "
        f"{_ARROW} what they look like{stamp}",
    )


def _picture_pair(check: LabelCheck, found: Sequence[Suspect]) -> ImageGroup | None:
    """Return the strongest of a pair; None where no picture of them is to be had."""
    pictures: list[NDArray[np.uint8]] = []
    labels: list[str] = []
    for suspect in found:
        picture = check.open_picture(suspect.index)
        if picture is not None and len(pictures) < COLUMNS:
            picture.thumbnail(_THUMBNAIL)
            pictures.append(np.asarray(picture))
            labels.append(f"{suspect.pred_prob:.2f} {Path(check.images[suspect.index].name).name}")
    if not pictures:
        return None
    label, pred = check.classes[found[0].label], check.classes[found[0].pred]
    more = f" ({len(found)})" if len(found) > len(pictures) else ""
    return ImageGroup(f"{label} {_ARROW} {pred}{more}", pictures, labels)
