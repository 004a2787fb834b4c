"""Pictures of a data set before any training: counts, sizes, colours, means, contact sheets."""

# K classes, T thresholds

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from datasets.exploration import PixelStatistics, cut_at, to_gray
from experiments.reporting.canvas import DPI, Picture, escape, fit_label, to_pixels

Statistics = Mapping[str, PixelStatistics]
_COLOURS = {"red": "tab:red", "green": "tab:green", "blue": "tab:blue"}
_MAX_SIZES_NAMED = 3


def draw_class_counts(
    counts: Mapping[str, Mapping[str, int]], title: str, *, is_synthetic: bool
) -> Picture:
    """Return bars of the number of images, `counts` by split and class, largest class first."""
    totals: Counter[str] = Counter()
    for by_class in counts.values():
        totals.update(by_class)
    classes = [name for name, _ in totals.most_common()]
    figure = Figure(figsize=(7.2, 1.6 + 0.34 * len(classes)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(classes))
    for split, by_class in counts.items():
        widths = np.array([by_class.get(name, 0) for name in classes])
        axes.barh(range(len(classes)), widths, left=left, label=escape(split))
        left += widths
    for row, name in enumerate(classes):
        axes.text(totals[name], row, f" {totals[name]:,}", va="center", fontsize=8)
    axes.set_yticks(range(len(classes)), [fit_label(name) for name in classes])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(1, max(totals.values(), default=1)))
    axes.set_xlabel("images")
    axes.set_title(f"{title}: {totals.total():,} images in {len(classes)} class(es)", fontsize=10)
    if len(counts) > 1:
        axes.legend(fontsize=8, loc="lower right", title="split", title_fontsize=8)
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_image_sizes(
    sizes: Mapping[str, Counter[tuple[int, int]]], title: str, *, is_synthetic: bool
) -> Picture:
    """Return widths and heights in pixels of all images by class, the area showing how many."""
    figure = Figure(figsize=(7.2, max(4.4, 0.22 * len(sizes))), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    together: Counter[tuple[int, int]] = Counter()
    for number, (name, counter) in enumerate(sizes.items()):
        together.update(counter)
        if not counter:
            continue
        widths, heights = np.array(list(counter)).T
        areas = 18 + 200 * np.sqrt(np.array(list(counter.values())) / counter.total())
        # Classes of one size would hide each other: later ones are drawn smaller.
        shrink = 1 - 0.8 * number / max(1, len(sizes))
        label = f"{fit_label(name)} ({len(counter)} size{'s' if len(counter) > 1 else ''})"
        axes.scatter(widths, heights, s=areas * shrink, alpha=0.65, label=label, linewidths=0)
    common = ", ".join(f"{w}x{h}: {n:,}" for (w, h), n in together.most_common(_MAX_SIZES_NAMED))
    common = common or "none"
    axes.set_title(
        f"{title}: image sizes\n{len(together)} in all, most common {common}", fontsize=10
    )
    axes.set_xlabel("width (pixels)")
    axes.set_ylabel("height (pixels)")
    axes.grid(alpha=0.3)
    axes.margins(0.12)
    if together:
        legend = axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set(sizes=[40])
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_colour_histograms(statistics: Statistics, title: str, *, is_synthetic: bool) -> Picture:
    """Return the histograms of red, green and blue, a panel a class on one scale."""
    figure, panels = _panels(len(statistics), title)
    highest = max((_visible_top(s.colour_histogram) for s in statistics.values()), default=0.01)
    for axes, (name, found) in zip(panels, statistics.items(), strict=False):
        for (channel, colour), shares in zip(_COLOURS.items(), found.colour_histogram, strict=True):
            axes.plot(100 * shares, color=colour, linewidth=1, label=channel)
        axes.set_title(f"{fit_label(name)} (n = {found.num_images})", fontsize=9)
        _finish_levels(axes, highest)
    figure.supxlabel("level (peaks at 0 and 255 may leave the panel)", fontsize=9)
    figure.supylabel("share of the pixels (%)", fontsize=9)
    panels[0].legend(fontsize=7)
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_gray_histograms(statistics: Statistics, title: str, *, is_synthetic: bool) -> Picture:
    """Return the gray-level histograms, with the share of pixels darker than each threshold."""
    figure, panels = _panels(len(statistics), title)
    highest = max((_visible_top(s.gray_histogram) for s in statistics.values()), default=0.01)
    for axes, (name, found) in zip(panels, statistics.items(), strict=False):
        axes.fill_between(range(256), 100 * found.gray_histogram, color="0.45", linewidth=0)
        for threshold in found.thresholds:
            axes.axvline(threshold, color="tab:orange", linewidth=0.9)
        if found.num_images:
            shares = found.share_below.mean(axis=0)
            text = "darker than\n" + "\n".join(
                f"{threshold}: {share:.0%}"
                for threshold, share in zip(found.thresholds, shares, strict=True)
            )
            axes.text(0.03, 0.95, text, transform=axes.transAxes, va="top", fontsize=7)
        axes.set_title(f"{fit_label(name)} (n = {found.num_images})", fontsize=9)
        _finish_levels(axes, highest)
    figure.supxlabel("gray level (peaks at 0 and 255 may leave the panel)", fontsize=9)
    figure.supylabel("share of the pixels (%)", fontsize=9)
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_thresholded(statistics: Statistics, title: str, *, is_synthetic: bool) -> Picture:
    """Return an image of each class, its gray levels, and what each threshold leaves of it."""
    shown = {name: found for name, found in statistics.items() if found.examples}
    thresholds = next((found.thresholds for found in shown.values()), ())
    heads = ["image", "gray", *(f"gray < {threshold} black" for threshold in thresholds)]
    rows = []
    for found in shown.values():
        gray = to_gray(found.examples[0])
        rows.append([found.examples[0], gray, *(cut_at(gray, t) for t in thresholds)])
    return _draw_grid(rows, [fit_label(name) for name in shown], heads, title, is_synthetic)


def draw_mean_images(statistics: Statistics, title: str, *, is_synthetic: bool) -> Picture:
    """Return the mean image of each class under its name."""
    shown = {name: found for name, found in statistics.items() if found.num_images}
    columns = min(4, max(1, len(shown)))
    rows = -(-max(1, len(shown)) // columns)
    figure = Figure(
        figsize=(max(4.4, 1.9 * columns), 2.12 * rows + 0.35), dpi=DPI, layout="constrained"
    )
    figure.suptitle(title, fontsize=10)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, (name, found) in zip(figure.axes, shown.items(), strict=False):
        axes.imshow(found.mean_image.round().astype(np.uint8))
        axes.set_title(f"{fit_label(name)} (n = {found.num_images})", fontsize=8)
    return to_pixels(figure, is_synthetic=is_synthetic)


def draw_contact_sheet(
    rows: Mapping[str, Sequence[Picture]], title: str, *, is_synthetic: bool
) -> Picture:
    """Return square images in a row a class; a class without readable images has an empty row."""
    return _draw_grid(
        list(rows.values()), [fit_label(name) for name in rows], [], title, is_synthetic
    )


def _draw_grid(
    rows: Sequence[Sequence[Picture]],
    labels: Sequence[str],
    heads: Sequence[str],
    title: str,
    is_synthetic: bool,
) -> Picture:
    columns = max([len(heads), 1, *map(len, rows)])
    figure = Figure(
        figsize=(max(4.4, 1.0 * columns + 1.3), 1.02 * max(1, len(rows)) + 0.7),
        dpi=DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01),
    )
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for line, images, label in zip(grid, rows, labels, strict=False):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for axes, image in zip(line, images, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    for axes, head in zip(grid[0], heads, strict=False):
        axes.set_title(head, fontsize=7)
    return to_pixels(figure, is_synthetic=is_synthetic)


def _panels(number: int, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel a class; panels left over are hidden."""
    columns = min(4, max(1, number))
    rows = -(-max(1, number) // columns)
    figure = Figure(
        figsize=(max(4.4, 2.4 * columns), 1.9 * rows + 0.7), dpi=DPI, layout="constrained"
    )
    figure.suptitle(title, fontsize=10)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[max(1, number) :]:
        axes.axis("off")
    return figure, panels


def _visible_top(shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Return the height to which histograms are shown; lone peaks at levels 0 and 255 may leave."""
    return max(1e-3, float(shares[..., 1:-1].max()))


def _finish_levels(axes: Axes, highest: float) -> None:
    axes.set_xlim(0, 255)
    axes.set_xticks([0, 64, 128, 192, 255])
    axes.set_ylim(0, 108 * highest)
    axes.tick_params(labelsize=7)
