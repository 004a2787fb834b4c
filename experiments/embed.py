"""What has a classifier made of its test images: which lie together, and which apart?

    python experiments/embed.py RUN... [--split test] [--out DIR] [--no-images]

Takes what a finished run's network sees of each image just before its linear layers (of a fused
one the cell CNN's last map and what each encoder's vote is read from, each weighing as its votes
do), and lays it out by PCA and by t-SNE (seeded; near points are alike, far distances say little).
The images are found again by --data-root and --cache-root; the run is refused if they do not give
the predictions that it wrote.

Writes into the run folder: embedding.csv (sample_id, label, method, x, y), which report.py shows,
embedding.png, embedding.json, and projector/ for TensorBoard's tab PROJECTOR, with thumbnails. Of
--split val the names end in -val. Time: about 30 s for 400 images on two cores.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro
from PIL import Image

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.other_tests import pick_evenly
from datasets.samples import Sample
from experiments.cli import run_script
from experiments.embedding import Embedding, build_table, lay_out, read_features
from experiments.own_images import HeldOut, find_own_samples, require_same_predictions
from experiments.projector import write_projector
from experiments.reporting.alignment import short_names
from experiments.reporting.html.figures import draw_embedding
from experiments.reporting.load_runs import FinishedRun, find_classifiers
from experiments.reporting.tables import write_table
from models.errors import ModelError
from trainers.device import Device, precision_of
from trainers.errors import RunError
from trainers.prediction import NUM_WORKERS, PredictionPrecision, Predictor, launch_prediction
from trainers.restore import restore_classifier
from trainers.run import write_json


@dataclass(frozen=True)
class Options:
    """Which runs and images, and where the files go."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished classifier runs, or folders that hold them."""
    split: HeldOut = "test"
    """Which images: test, or val."""
    out: Path | None = None
    """Folder of the files. Default: each run's own, where report.py looks."""
    images: bool = True
    """Whether thumbnails are written for TensorBoard; they may be confidential."""
    seed: int = 0
    """Of t-SNE."""
    max_images: int | None = None
    """At most so many images, classes in proportion. Default: all."""
    data_root: Path | None = None
    """Where the runs' images lie. Default: as each config.json says, from this folder."""
    cache_root: Path | None = None
    """Where the splits lie that the runs' script drew. Default: as config.json says."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    precision: PredictionPrecision = "run"
    """run: as the run was trained and tested."""
    batch_size: int = 32
    """Images at a time."""
    num_workers: int = NUM_WORKERS
    """Threads that decode images beside the model."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: Naming the flag.
        """
        if not self.runs:
            raise ValueError("No run given. Give the folder of a finished run, or of several.")
        for flag, number in (
            ("--max-images", self.max_images),
            ("--batch-size", self.batch_size),
            ("--num-workers", self.num_workers),
        ):
            if number is not None and number < 1:
                raise ValueError(f"{flag} must be at least 1, not {number}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be in [0, {2**32 - 1}], not {self.seed}.")


def main(options: Options) -> list[Path]:
    """Write the maps of each run; return the folders written to.

    Raises:
        SystemExit: With code 1, after all others are done, where one of several runs was refused.
    """
    runs = find_classifiers(options.runs)
    folders, refused = [], []
    for run, name in zip(runs, short_names([run.path for run in runs]), strict=True):
        folder = run.path
        if options.out is not None:
            folder = options.out / name if len(runs) > 1 else options.out
        try:
            print(f"{_embed(options, run, folder)}\nWritten to {folder}\n")
        except (DatasetError, ModelError, RunError, ValueError) as error:
            if len(runs) == 1:
                raise
            refused.append(f"  {name}: {error}")
        else:
            folders.append(folder)
    if refused:
        print(f"{len(refused)} of {len(runs)} runs have no map:")
        print("\n".join(refused))
        sys.exit(1)
    return folders


def _embed(options: Options, run: FinishedRun, folder: Path) -> str:
    """Write the maps of one run; return what they are of, as text."""
    restored = restore_classifier(run.path)
    of_run = run.config.get("options", {})
    data_root = options.data_root or of_run.get("data_root")
    cache_root = Path(options.cache_root or of_run.get("cache_root") or "cache")
    samples = find_own_samples(
        run, Path(data_root) if data_root else None, cache_root, options.split
    )
    if options.max_images is not None:
        samples = pick_evenly(samples, options.max_images)
    fabric = launch_prediction(restored.config, options.device, options.precision)
    parts, probs = read_features(
        Predictor(restored, fabric),
        samples,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
    )
    difference = require_same_predictions(run, samples, probs, options.split)
    embedding = lay_out(parts, options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    ending = "" if options.split == "test" else f"-{options.split}"
    _write_maps(folder / f"embedding{ending}", run, embedding, samples)
    preds = [run.classes[index] for index in probs.argmax(axis=1)]
    write_projector(
        folder / f"projector{ending}",
        embedding.components,
        samples,
        preds,
        f"features of {options.split}",
        has_images=options.images,
        num_workers=options.num_workers,
    )
    facts = {
        "run": str(run.path),
        "split": options.split,
        "images": len(samples),
        "values": embedding.part_sizes,
        "pca_variance": [float(share) for share in embedding.explained[:2]],
        "projector_variance": float(embedding.explained.sum()),
        "tsne_perplexity": embedding.perplexity,
        "seed": options.seed,
        "difference_to_run": difference,
        "precision": precision_of(fabric),
        "device": fabric.device.type,
    }
    write_json(folder / f"embedding{ending}.json", facts)
    return _format(run, facts)


def _write_maps(stem: Path, run: FinishedRun, embedding: Embedding, samples: list[Sample]) -> None:
    table = build_table(embedding, samples)
    with write_whole(stem.with_suffix(".png")) as temporary:
        picture = draw_embedding(table, is_synthetic=run.is_synthetic)
        Image.fromarray(picture).save(temporary, format="PNG")
    with write_whole(stem.with_suffix(".csv")) as temporary:
        write_table(table, temporary)


def _format(run: FinishedRun, facts: dict[str, Any]) -> str:
    values = ", ".join(f"{name} {number:,}" for name, number in facts["values"].items())
    shares = " + ".join(f"{100 * share:.0f}" for share in facts["pca_variance"])
    stamp = ", SYNTHETIC data" if run.is_synthetic else ""
    return (
        f"{run.path}: {facts['images']:,} {facts['split']} images{stamp}\n"
        f"  values an image   {values}\n"
        f"  PCA               {shares} % of the variance\n"
        f"  t-SNE             perplexity {facts['tsne_perplexity']:.3g}, seed {facts['seed']}\n"
        f"  predictions       {facts['difference_to_run']:.2g} from the run's, on average"
    )


if __name__ == "__main__":
    run_script(main, Options, __doc__)
