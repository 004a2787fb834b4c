"""Do copies of one image stand in two splits, and how many images are independent?

    python experiments/audit_data.py data/wbc --out runs/audit
    python experiments/audit_data.py data/kaggle/images/TRAIN data/kaggle/images/TEST
    python experiments/audit_data.py data/tiles --exact
    python experiments/audit_data.py --labels data/wbc --backbone-weights FILE --out runs/labels
    python experiments/audit_data.py --labels runs/fused_wbc/split-100

Takes manifests, tiles of slides or bare folder trees, finds exact duplicates, near-duplicates and
augmented siblings (flip, rotation, shift, crop, brightness) by pixels alone, and groups them. A
group in two splits, or on both sides of a nested label subset, is a leak: exit code 1, else 0. With
--out it writes groups.csv, audit.json and clusters.png. Takes 30 to 45 ms of CPU an image, and a
search that grows with the square of their number; --exact needs neither.

With --labels it asks instead: which labels do the images contradict? Each image is predicted by a
model that saw none of its group; confident learning picks the contradictions for a person to look
at (labels.csv, labels.png; exit code 0). Given finished runs it takes their validation and test
predictions. Takes 30 to 90 ms of CPU an image, less once the features are stored.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from datasets.leakage import NUM_WORKERS, Clusters, Level, find_clusters
from datasets.leakage.audit import AuditedImage, Leak, find_leaks
from datasets.leakage.sources import read_sources
from experiments.cli import run_script
from experiments.reporting.audit import draw_clusters, format_audit, write_audit
from experiments.reporting.label_sheet import LABELS, SHEET, LabelCheck, format_labels, write_labels

_LEAK = 1


@dataclass(frozen=True)
class Options:
    """What is audited, and where the findings go."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Manifests (the CSV or its folder), what tile_slides.py wrote (tiles.csv or its folder), or
    folders of images; their splits are checked together. With --labels also finished runs."""
    out: Path | None = None
    """Folder for groups.csv, audit.json and clusters.png, or for labels.csv and labels.png."""
    labels: bool = False
    """Look for wrong labels instead of copies."""
    backbone_weights: str = "random"
    """Of the SqueezeNet 1.1 that --labels takes features from: pretrained (cache or download), a
    file, or random."""
    cache_root: Path = Path("cache")
    """Folder of those features."""
    level: Level = "photograph"
    """What a group is: copies of one photograph, or all photographs of the same cells (scene)."""
    exact: bool = False
    """Find copies with the very same pixels only: for sets too large for the search."""
    skip_unreadable: bool = False
    """Leave out, count and list images that do not decode; without it they are an error."""
    workers: int = NUM_WORKERS
    """Threads."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: Naming the flag.
        """
        if not self.sources:
            raise ValueError("Nothing to audit. Give at least one manifest or folder of images.")
        if self.backbone_weights != "random" and not self.labels:
            raise ValueError("--backbone-weights is for --labels, which is not passed.")
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1, not {self.workers}.")


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        images: Every image with its group, at the level asked for.
        leaks: At that level.
        scene_leaks: At the level of scenes.
        clusters: All groups of both levels.
    """

    images: list[AuditedImage]
    leaks: list[Leak]
    scene_leaks: list[Leak]
    clusters: Clusters


def check_labels(options: Options) -> LabelCheck:
    """Print which labels to look at, write labels.csv and labels.png, and return the check."""
    # Here, since the packages of a model take seconds to import and the audit does without them.
    from experiments.label_check import are_runs, check_images, check_runs

    if are_runs(options.sources):
        check = check_runs(options.sources)
    else:
        check = check_images(
            options.sources,
            options.backbone_weights,
            options.cache_root,
            level=options.level,
            exact=options.exact,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers,
        )
    print(format_labels(check))
    if options.out is not None:
        write_labels(options.out, check)
        print(f"\nWritten to {options.out}: {LABELS}, {SHEET}")
    return check


def main(options: Options) -> Audit:
    """Print the audit, write its files, and return it."""
    listed = read_sources(options.sources)
    clusters = find_clusters(
        [image.path for image in listed],
        num_workers=options.workers,
        skip_unreadable=options.skip_unreadable,
        exact=options.exact,
    )
    images = _put_in_groups(listed, clusters, options.level)
    leaks = find_leaks(images)
    scene_leaks = find_leaks(_put_in_groups(listed, clusters, "scene"))
    audit = Audit(images, leaks, scene_leaks, clusters)
    print(format_audit(images, leaks, scene_leaks, clusters, options.level))
    if options.out is not None:
        write_audit(options.out, images, leaks, scene_leaks, clusters, options.level)
        draw_clusters(options.out / "clusters.png", images, leaks)
        print(f"\nWritten to {options.out}: groups.csv, audit.json, clusters.png")
    return audit


def _put_in_groups(
    listed: Sequence[AuditedImage], clusters: Clusters, level: Level
) -> list[AuditedImage]:
    group_of = clusters.group_of(level)
    return [
        replace(image, group=group_of[image.path]) for image in listed if image.path in group_of
    ]


def _run(options: Options) -> None:
    if options.labels:
        check_labels(options)
    elif main(options).leaks:
        sys.exit(_LEAK)


if __name__ == "__main__":
    run_script(_run, Options, __doc__)
