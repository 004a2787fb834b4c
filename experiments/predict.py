"""Which cells are on these images, says a finished run, and where did it look?

    python experiments/predict.py RUN IMAGE|DIR|GLOB... [--out predictions.csv]

Works from the run folder of any finished classifier alone, wherever it lies: model, input size and
class names are in it. Folders are searched with all sub-folders, masks left out; quote patterns
with wildcards. Images that cannot be read are listed and passed over. With --explain DIR it writes
Grad-CAM overlays; with --feature-maps LAYER --feature-maps-out DIR what that layer sees.

Time: README, Predictions. The probabilities are those of the run's predictions.csv, with --tempered
those that calibrate.py has mended.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from datasets.errors import DatasetError
from datasets.image_paths import find_images
from experiments.cli import run_script
from experiments.explanations import (
    find_cam_layer,
    require_map,
    write_explanations,
    write_feature_maps,
)
from experiments.reporting.prediction_tables import format_report
from experiments.reporting.predictions import ENDINGS, PredictionReport, write_report
from experiments.reporting.temperature_file import read_temperature
from trainers.device import Device, Fabric, precision_of
from trainers.prediction import NUM_WORKERS, PredictionPrecision, Predictor, launch_prediction
from trainers.restore import RestoredClassifier, restore_classifier


@dataclass(frozen=True)
class Options:
    """Which run, which images, and where the predictions go."""

    run: tyro.conf.Positional[Path]
    """Folder of a finished classifier run: the one with summary.json."""
    images: tyro.conf.Positional[tuple[str, ...]]
    """Files, folders, or quoted patterns such as 'cells/**/*.jpg'."""
    out: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """File that ends in .csv or .json; give --out twice for both. Default: only text."""
    tempered: bool = False
    """Divide logits by the temperature that calibrate.py found for this run on validation."""
    watch_threshold: float | None = None
    """Mark images whose class has a smaller probability: a person should look at them."""
    explain: Path | None = None
    """Folder for Grad-CAM overlays (PNG)."""
    layer: str | None = None
    """Whose map --explain weighs. Default: the last one of the convolutional network."""
    max_explain: int = 50
    """Pictures for at most so many images, the first ones."""
    feature_maps: str | None = None
    """Name of a layer whose maps are drawn; a wrong name lists those that there are."""
    feature_maps_out: Path | None = None
    """Folder for its sheets (PNG)."""
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
        if not self.images:
            raise ValueError("No image given. Name files, folders or quoted patterns after RUN.")
        for path in self.out:
            if path.suffix.lower() not in ENDINGS:
                raise ValueError(f"--out {path} ends in none of {', '.join(ENDINGS)}.")
            if path.is_dir():
                raise ValueError(f"--out {path} is a folder; give the name of a file.")
            if path.resolve().parent == self.run.resolve():
                raise ValueError(f"--out {path} lies in the run's own folder; pass another path.")
        if self.watch_threshold is not None and not 0 <= self.watch_threshold <= 1:
            raise ValueError(f"--watch-threshold must be in [0, 1], not {self.watch_threshold}.")
        for flag, value in (
            ("--max-explain", self.max_explain),
            ("--batch-size", self.batch_size),
            ("--num-workers", self.num_workers),
        ):
            if value < 1:
                raise ValueError(f"{flag} must be at least 1, not {value}.")
        if self.layer is not None and self.explain is None:
            raise ValueError("--layer chooses the map of --explain: pass --explain DIR, too.")
        if (self.feature_maps is None) != (self.feature_maps_out is None):
            raise ValueError("Pass --feature-maps LAYER and --feature-maps-out DIR together.")


def main(options: Options) -> PredictionReport:
    """Predict, print, and write what is asked for; return the predictions."""
    restored = restore_classifier(options.run)
    temperature = read_temperature(options.run) if options.tempered else 1.0
    paths = find_images(options.images)
    fabric = launch_prediction(restored.config, options.device, options.precision)
    predictor = Predictor(restored, fabric, temperature)
    # Before the long part: wrong names of layers and folders that cannot be made.
    cam_layer = find_cam_layer(predictor, options.layer) if options.explain else ""
    if options.feature_maps is not None:
        require_map(predictor, options.feature_maps)
    for folder in (*(p.parent for p in options.out), options.explain, options.feature_maps_out):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    found = predictor.predict(paths, batch_size=options.batch_size, num_workers=options.num_workers)
    if not found.paths:
        path, reason = next(iter(found.unreadable.items()))
        raise DatasetError(
            f"None of {len(paths)} file(s) can be read as an image. The first is {str(path)!r}: "
            f"{reason}."
        )
    report = PredictionReport(
        {**_describe(options, restored, fabric), "temperature": temperature},
        restored.classes,
        tuple(paths),
        dict(zip(found.paths, found.probs, strict=True)),
        found.unreadable,
        options.watch_threshold,
    )
    print(format_report(report))
    for path in options.out:
        write_report(path, report)
        print(f"Written to {path}")
    if options.explain is not None:
        folder = options.explain
        made = write_explanations(predictor, report, folder, cam_layer, options.max_explain)
        print(f"{made} Grad-CAM overlays written to {folder}")
    if options.feature_maps is not None and options.feature_maps_out is not None:
        folder, layer = options.feature_maps_out, options.feature_maps
        made = write_feature_maps(predictor, report, folder, layer, options.max_explain)
        print(f"{made} sheets of feature maps written to {folder}")
    return report


def _describe(options: Options, restored: RestoredClassifier, fabric: Fabric) -> dict[str, Any]:
    data = restored.summary["data"]
    variant = restored.config.get("variant")
    return {
        "run": str(options.run),
        "experiment": restored.summary["experiment"],
        **({"variant": variant} if isinstance(variant, str) else {}),
        "data": data["name"],
        "synthetic": data["synthetic"],
        "precision": precision_of(fabric),
        "device": fabric.device.type,
    }


if __name__ == "__main__":
    run_script(main, Options, __doc__)
