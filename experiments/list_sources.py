"""Which data sets can be read, where do they come from, and which of them are here?

    python experiments/list_sources.py [--data-root DIR] [--source NAME]

Prints the card of every source: what, classes, splits, licence, citation, where to get it, folders.
With --data-root also what of it lies there: images by class and part, and how that differs from the
published counts. Nothing is decoded; seconds.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.catalogue import PREPARED_SOURCES, SOURCES, find_source
from datasets.errors import DatasetError
from datasets.images import IMAGE_SUFFIXES
from datasets.published import PublishedSet
from experiments.cli import run_script

LABELS = ("labels.csv", "*/labels.csv", "*/dataset-master/labels.csv")
"""Where labels.csv of Kaggle's dataset-master is looked for below the data root."""


@dataclass(frozen=True)
class Options:
    """What is listed."""

    data_root: Path | None = None
    """Folder that holds sets, or folders of sets; without it only the cards are shown."""
    source: str | None = None
    """Name of one source; default: all."""
    labels: Path | None = None
    """bccd: labels.csv of Kaggle's dataset-master. Default: looked for below DATA_ROOT."""

    def __post_init__(self) -> None:
        """Refuse an unknown source.

        Raises:
            ValueError: Naming the known ones.
        """
        if self.source is not None and self.source not in SOURCES:
            raise ValueError(f"--source {self.source} is none of {', '.join(SOURCES)}.")


def main(options: Options) -> dict[str, str]:
    """Print cards and what is found; return what is found as text, by source."""
    found: dict[str, str] = {}
    for name in SOURCES if options.source is None else (options.source,):
        how = "prepare_wbc.py" if name in PREPARED_SOURCES else "--data-root of the trainings"
        print(f"{name} (read by {how})")
        print(textwrap.indent(SOURCES[name].card, "  "))
        if options.data_root is not None:
            found[name] = describe_found(name, options.data_root, options.labels)
            print(textwrap.indent(found[name], "  "))
        print()
    return found


def describe_found(name: str, data_root: Path, labels: Path | None) -> str:
    """Return what of the source lies under `data_root`, as text."""
    root = find_source(name, data_root)
    if root is None:
        return f"Found: nothing under {data_root}."
    source = SOURCES[name]
    if name not in PREPARED_SOURCES:
        folders = [path for mark in source.marks for path in root.glob(mark)]
        images = sum(
            path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
            for folder in folders
            for path in folder.rglob("*")
        )
        return f"Found: {images} images in {', '.join(map(str, folders))}."
    arguments: dict[str, object] = {}
    if "labels" in source.options:
        near = [path for pattern in LABELS for path in sorted(data_root.glob(pattern))]
        arguments["labels"] = labels or next(iter(near), None)
    try:
        published: PublishedSet = source.reader(root, **arguments)
    except DatasetError as error:
        return f"Found: {root}, but it cannot be read: {error}"
    return _describe(published)


def _describe(published: PublishedSet) -> str:
    lines = [f"Found: {len(published.images)} images in {published.root}"]
    for part in dict.fromkeys(image.part for image in published.images):
        counts = ", ".join(f"{label} {n}" for label, n in published.count(part).items() if n)
        lines.append(f"  {part or 'all'}: {counts}")
    lines += [f"  left out, {reason}: {n}" for reason, n in published.left_out.items()]
    if published.differences:
        lines.append("Differs from the publication:")
        lines += [f"  {line}" for line in published.differences]
    else:
        lines.append("The counts are the published ones.")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
