"""The leakage audit as text, files and a contact sheet."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from datasets.files import write_whole
from datasets.leakage import Clusters, Level
from datasets.leakage.audit import AuditedImage, Leak, count_independent, find_mixed_labels
from datasets.leakage.reading import read_pixels
from experiments.reporting.cluster_sheet import (
    COLUMNS,
    ImageGroup,
    arrange_in_rows,
    draw_groups,
)

_WIDTH: Final = 80
_MAX_LISTED: Final = 8
_MAX_ROWS: Final = 10
_THUMBNAIL: Final = (160, 160)


def format_audit(
    images: Sequence[AuditedImage],
    leaks: Sequence[Leak],
    scene_leaks: Sequence[Leak],
    clusters: Clusters,
    level: Level,
) -> str:
    """Return the audit as text of at most 80 columns."""
    sizes = Counter(image.group for image in {image.path: image for image in images}.values())
    scenes = set(clusters.scene_of.values())
    lines = [
        f"{sizes.total()} images of {len(set(clusters.photograph_of.values()))} photographs "
        f"in {len(scenes)} scenes; groups by {level}.",
        "Linked pairs: "
        + (", ".join(f"{n} {k.replace('_', ' ')}" for k, n in clusters.num_pairs.items()) or "none")
        + ".",
        "",
        f"{'split':8}{'class':20}{'images':>9}{'groups':>9}{'effective':>11}{'largest':>9}",
    ]
    lines += [
        f"{row.split or '-':8}{row.label[:19]:20}{row.num_images:9d}{row.num_groups:9d}"
        f"{row.effective_number:11.1f}{row.largest_group:9d}"
        for row in count_independent(images)
    ]
    lines += [
        "effective: (sum n)^2 / sum n^2 over the sizes n of the groups.",
        "",
        "Largest groups: " + ", ".join(str(size) for _, size in sizes.most_common(_MAX_LISTED)),
    ]
    mixed = find_mixed_labels(images)
    if mixed:
        name, labels = next(iter(mixed.items()))
        lines.append(f"Groups with more than one class: {len(mixed)}, e.g. {name}:")
        lines.append(f"  {', '.join(labels)}"[:_WIDTH])
    if clusters.unreadable:
        lines.append(f"Left out as unreadable: {len(clusters.unreadable)}")
    lines += ["", *(_format_leaks(leaks) if leaks else _format_clean(images, sizes))]
    if level == "photograph" and len(scene_leaks) > len(leaks):
        lines += [
            f"Warning: {len(scene_leaks)} leaks by scene: the same cells were photographed again,",
            "and the photographs stand on both sides. Pass --level scene to list them.",
        ]
    return "\n".join(lines)


def write_audit(
    folder: Path,
    images: Sequence[AuditedImage],
    leaks: Sequence[Leak],
    scene_leaks: Sequence[Leak],
    clusters: Clusters,
    level: Level,
) -> None:
    """Write ``groups.csv`` (path, label, split, group) and ``audit.json`` into `folder`."""
    with write_whole(folder / "groups.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "split", "group"))
        writer.writerows((image.path, image.label, image.split, image.group) for image in images)
    content = {
        "level": level,
        "sources": sorted({str(image.source) for image in images}),
        "num_images": len(clusters.photograph_of),
        "num_photographs": len(set(clusters.photograph_of.values())),
        "num_scenes": len(set(clusters.scene_of.values())),
        "linked_pairs": clusters.num_pairs,
        "independent": [asdict(row) for row in count_independent(images)],
        "mixed_labels": find_mixed_labels(images),
        "leaks": [asdict(leak) for leak in leaks],
        "scene_leaks": [asdict(leak) for leak in scene_leaks],
        "scenes_of_several_photographs": _list_scenes(clusters),
        "unreadable": [str(path) for path in clusters.unreadable],
    }
    with write_whole(folder / "audit.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")


def draw_clusters(path: Path, images: Sequence[AuditedImage], leaks: Sequence[Leak]) -> None:
    """Write a contact sheet of the largest groups, leaking ones first and in red."""
    members: dict[str, list[AuditedImage]] = defaultdict(list)
    for image in {image.path: image for image in images}.values():
        members[image.group].append(image)
    leaking = {leak.group for leak in leaks}
    several = [name for name, found in members.items() if len(found) > 1]
    ranked = sorted(several, key=lambda name: (name not in leaking, -len(members[name]), name))
    rows = arrange_in_rows([min(len(members[name]), COLUMNS) for name in ranked], _MAX_ROWS)
    sheet = draw_groups(
        [
            [_picture_group(ranked[i], members[ranked[i]], ranked[i] in leaking) for i in row]
            for row in rows
        ],
        f"{sum(map(len, rows))} of {len(several)} groups of several images",
    )
    with write_whole(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def _picture_group(name: str, members: Sequence[AuditedImage], is_leak: bool) -> ImageGroup:
    chosen = _spread(members, COLUMNS)
    pictures = []
    for image in chosen:
        picture = read_pixels(image.path)
        picture.thumbnail(_THUMBNAIL)
        pictures.append(np.asarray(picture))
    shown = f", {len(chosen)} shown" if len(chosen) < len(members) else ""
    return ImageGroup(
        caption=f"{name[:14]}: {len(members)} images{shown}{', LEAK' if is_leak else ''}",
        images=pictures,
        labels=[f"{image.split} {image.label}".strip() for image in chosen],
        is_marked=is_leak,
    )


def _format_clean(images: Sequence[AuditedImage], sizes: Mapping[str, int]) -> list[str]:
    if any(image.split for image in images):
        return ["No leak: no group is in two splits or on both sides of a label subset."]
    several = sum(size > 1 for size in sizes.values())
    return [
        "No splits given, so nothing can leak between them.",
        f"{several} group(s) hold copies: give prepare_wbc.py --groups the groups.csv of --out."
        if several
        else "No group holds copies.",
    ]


def _format_leaks(leaks: Sequence[Leak]) -> list[str]:
    kinds = Counter(leak.kind for leak in leaks)
    lines = [f"LEAKS: {', '.join(f'{number} by {kind}' for kind, number in kinds.items())}"]
    for leak in leaks[:_MAX_LISTED]:
        sides = ", ".join(f"{number} in {side}" for side, number in leak.sides.items())
        lines.append(f"  {leak.kind}: {leak.group[-40:]}: {sides}"[:_WIDTH])
        lines += [f"    {side:6} ...{str(path)[-60:]}" for side, path in leak.examples.items()]
    if len(leaks) > _MAX_LISTED:
        lines.append(f"  and {len(leaks) - _MAX_LISTED} more; --out writes them all")
    return lines


def _list_scenes(clusters: Clusters) -> dict[str, list[str]]:
    photographs: dict[str, set[str]] = defaultdict(set)
    for path, scene in clusters.scene_of.items():
        photographs[scene].add(clusters.photograph_of[path])
    return {name: sorted(found) for name, found in sorted(photographs.items()) if len(found) > 1}


def _spread(members: Sequence[AuditedImage], number: int) -> list[AuditedImage]:
    """Return up to `number` members, evenly over their splits and paths."""
    ordered = sorted(members, key=lambda image: (image.split, str(image.path)))
    if len(ordered) <= number:
        return ordered
    places = np.linspace(0, len(ordered) - 1, number).round().astype(int)
    return [ordered[place] for place in places]
