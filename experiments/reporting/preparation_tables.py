"""What a prepared set holds, as text."""

from __future__ import annotations

from datasets.samples import SampleSet
from datasets.taxonomy import LABEL_PERCENTS, LabelPercent, Split


def format_counts(cells: SampleSet) -> str:
    """Return number of images by class, of groups, and of what was left out, as text."""
    columns: list[tuple[Split, LabelPercent]] = [("train", p) for p in LABEL_PERCENTS]
    columns += [("val", 100), ("test", 100)]
    heads = [f"{percent} %" if split == "train" else split for split, percent in columns]
    counts = [cells.count(split, percent) for split, percent in columns]
    lines = [f"{'class':20}" + "".join(f"{head:>8}" for head in heads)]
    lines += [
        f"{name:20}" + "".join(f"{count[name]:8d}" for count in counts) for name in cells.classes
    ]
    groups = [cells.count_groups(split, percent) for split, percent in columns]
    lines.append(f"{'all':20}" + "".join(f"{sum(count.values()):8d}" for count in counts))
    lines.append(f"{'groups':20}" + "".join(f"{number:8d}" for number in groups))
    if cells.skipped:
        lines.append(f"Left out as unreadable: {len(cells.skipped)}")
    lines += [f"Left out, {reason}: {number}" for reason, number in cells.left_out]
    return "\n".join(lines)
