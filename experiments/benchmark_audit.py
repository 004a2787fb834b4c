"""How well, how fast and in how much memory does the leakage audit find copies of photographs?

    python experiments/benchmark_audit.py --photographs data/bccd/BCCD/JPEGImages --images 2000

Writes augmented copies of photographs the way the Kaggle blood-cell set was made (flips, rotation
to 20 degrees, shifts to a fifth, 320x240, black or nearest fill, 1 to 155 copies of a photograph),
runs the audit on them, and prints pairwise precision and recall against the truth, time and peak
memory. 12,500 images take about six minutes on two cores.
Photographs that show the same cells again count as different in the truth of photographs.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.images import list_images
from datasets.leakage import NUM_WORKERS, find_clusters
from datasets.leakage.agreement import score_pairs
from datasets.synthetic.copies import CopyRecipe, write_copies
from experiments.cli import run_script

_MAX_LISTED = 10


@dataclass(frozen=True)
class Options:
    """What is copied, how often, and how the audit runs."""

    photographs: Path
    """Folder of photographs, each of which counts as one truth."""
    images: int = 2000
    """Number of copies in all."""
    seed: int = 0
    """Of the copies."""
    max_stretch: float = 0.0
    """Largest relative change of size, beyond what the Kaggle set seems to have."""
    max_degrees: float = 20.0
    """Largest rotation, either way."""
    out: Path | None = None
    """Folder for benchmark.json."""
    workers: int = NUM_WORKERS
    """Threads."""


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        num_images: Copies.
        num_photographs: Photographs with at least one copy.
        num_found: Photographs that the audit found.
        precision: Pairwise, in [0, 1].
        recall: Pairwise, in [0, 1].
        scene_precision: Of the scenes, against the same truth.
        scene_recall: Of the scenes.
        seconds: Wall time of the audit.
        cpu_seconds: Of all threads; on a busy machine the wall time says little.
        peak_megabytes: Of resident memory, libraries included.
        joined: Photographs whose copies the audit put together.
    """

    num_images: int
    num_photographs: int
    num_found: int
    precision: float
    recall: float
    scene_precision: float
    scene_recall: float
    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    joined: list[list[str]]


def main(options: Options) -> Result:
    """Make the copies in a temporary folder, audit them, print and return what was measured."""
    if not options.photographs.is_dir():
        raise DatasetError(f"No folder {options.photographs}. Pass --photographs DIR.")
    photographs = list_images(options.photographs)
    recipe = CopyRecipe(max_degrees=options.max_degrees, max_stretch=options.max_stretch)
    with tempfile.TemporaryDirectory() as folder:
        truth_of = write_copies(photographs, Path(folder), options.images, options.seed, recipe)
        start, cpu_start = time.perf_counter(), time.process_time()
        clusters = find_clusters(list(truth_of), num_workers=options.workers)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    truth = [photograph.name for photograph in truth_of.values()]
    found = [clusters.photograph_of[path] for path in truth_of]
    precision, recall = score_pairs(found, truth)
    scenes = score_pairs([clusters.scene_of[path] for path in truth_of], truth)
    result = Result(
        num_images=len(truth),
        num_photographs=len(set(truth)),
        num_found=len(set(found)),
        precision=precision,
        recall=recall,
        scene_precision=scenes[0],
        scene_recall=scenes[1],
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        joined=_list_joined(truth_of, clusters.photograph_of),
    )
    print(_format(result))
    if options.out is not None:
        with write_whole(options.out / "benchmark.json") as temporary:
            temporary.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return result


def _list_joined(truth_of: Mapping[Path, Path], group_of: Mapping[Path, str]) -> list[list[str]]:
    names: dict[str, set[str]] = defaultdict(set)
    for path, photograph in truth_of.items():
        names[group_of[path]].add(photograph.name)
    return sorted(sorted(joined) for joined in names.values() if len(joined) > 1)


def _format(result: Result) -> str:
    lines = [
        f"{result.num_images} copies of {result.num_photographs} photographs; "
        f"{result.num_found} found",
        f"photographs  precision {result.precision:.4f}  recall {result.recall:.4f}",
        f"scenes       precision {result.scene_precision:.4f}  recall {result.scene_recall:.4f}",
        f"audit        {result.seconds:.0f} s ({result.cpu_seconds:.0f} s of CPU), "
        f"{1000 * result.cpu_seconds / result.num_images:.0f} ms of CPU an image",
        f"peak memory  {result.peak_megabytes:.0f} MB",
        f"Photographs joined: {len(result.joined)} groups",
    ]
    lines += [f"  {' '.join(names)}" for names in result.joined[:_MAX_LISTED]]
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
