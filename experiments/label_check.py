"""Which images contradict their labels: of prepared sets and folders, or of finished runs."""

# N images, K classes

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import pandas as pd
from PIL import Image

from datasets.errors import DatasetError
from datasets.images import split_readable
from datasets.label_noise import find_suspects, predict_out_of_fold
from datasets.leakage import Level, find_clusters
from datasets.leakage.audit import AuditedImage
from datasets.leakage.reading import read_pixels
from datasets.leakage.sources import read_sources
from datasets.samples import Sample, hash_file
from experiments.reporting.html.errors import Thumbnails
from experiments.reporting.label_sheet import CheckedImage, LabelCheck
from experiments.reporting.load_runs import FinishedRun, find_classifiers
from models.backbones import RANDOM
from models.encoder_spec import EncoderSpec
from models.frozen import FrozenEncoder
from trainers.device import launch_fabric
from trainers.encoders import library_encoder, untrained_encoder
from trainers.feature_extraction import ensure_features
from trainers.probe import pool_features
from trainers.run import SUMMARY, VAL_PREDICTIONS

_BACKBONE: Final = "squeezenet1_1"
_NODES: Final = ("features.4.cat", "features.7.cat", "features.10.cat", "features.12.cat")
_INPUT_SIZE: Final = 224

log = logging.getLogger(__name__)


def are_runs(sources: Sequence[Path]) -> bool:
    """Return whether the sources are run folders, or folders of runs, rather than images.

    Raises:
        ValueError: Some are and some are not.
    """
    found = [source.is_dir() and any(source.rglob(SUMMARY.name)) for source in sources]
    if any(found) and not all(found):
        raise ValueError(
            "--labels takes finished runs or sets of images, not both: "
            f"{sources[found.index(True)]} holds runs, {sources[found.index(False)]} does not."
        )
    return all(found)


def check_images(
    sources: Sequence[Path],
    weights: str,
    cache_root: Path,
    *,
    level: Level,
    exact: bool,
    skip_unreadable: bool,
    workers: int,
) -> LabelCheck:
    """Return what features of four depths of a SqueezeNet 1.1 say of the labels of `sources`.

    Args:
        sources: Manifests or folders of images.
        weights: Of the network, as `build_backbone` takes them.
        cache_root: Where the features are kept.
        level: What a group is in bare folders, which declare none.
        exact: Search bare folders for the very same pixels only; see `find_clusters`.
        skip_unreadable: Leave out images that do not decode.
        workers: Threads of that search.

    Raises:
        DatasetError: There are no labelled image files, or too few.
        WeightsError: The weights are not to be had.
    """
    images = list({image.path: image for image in read_sources(sources) if image.label}.values())
    if any(not image.path.is_file() for image in images):
        raise DatasetError(
            "--labels reads image files. The labels of tiles come from annotations: look at "
            "overviews/ beside tiles.csv instead."
        )
    readable, skipped = split_readable([i.path for i in images]) if skip_unreadable else ([], [])
    kept = set(readable)
    images = [image for image in images if not skip_unreadable or image.path in kept]
    classes = sorted({image.label for image in images})
    if len(classes) < 2:
        # Before copies are searched and features extracted, which takes long.
        raise DatasetError(
            f"Labels cannot be checked on {len(images)} images of {len(classes)} class(es): two "
            "classes and two groups are needed. Folders are taken as classes; prepare the set "
            "first: experiments/prepare_wbc.py."
        )
    groups = _find_groups(images, level, exact=exact, workers=workers)
    labels = [classes.index(image.label) for image in images]
    encoder = _open_encoder(weights)
    samples = [
        Sample(str(i.path), i.path, i.label, "train", group, hash_file(i.path))
        for i, group in zip(images, groups, strict=True)
    ]
    fabric = launch_fabric("auto", "32-true", seed=0)
    store = ensure_features(fabric, encoder, samples, cache_root)
    probs = predict_out_of_fold(pool_features(samples, [store]), labels, groups, len(classes))
    return LabelCheck(
        [
            CheckedImage(str(i.path), i.label, i.split, group)
            for i, group in zip(images, groups, strict=True)
        ],
        classes,
        probs,
        find_suspects(probs, labels),
        f"logistic regression on {_BACKBONE} features ({Path(weights).name} weights)",
        [str(path) for path in skipped],
        lambda index: read_pixels(images[index].path),
    )


def check_runs(sources: Sequence[Path]) -> LabelCheck:
    """Return what finished classifiers say of the labels of images that they did not learn from.

    Those are the validation and test images; probabilities of an image in several runs are
    averaged.

    Raises:
        ValueError: The runs have other classes or other data sets, or files of them are damaged.
    """
    runs = find_classifiers(sources)
    kinds = {(tuple(run.classes), str(run.summary["data"]["name"])) for run in runs}
    if len(kinds) > 1:
        raise ValueError(
            "--labels takes runs of one data set with one list of classes, not of "
            f"{'; '.join(sorted(f'{name} ({len(names)} classes)' for names, name in kinds))}."
        )
    classes = runs[0].classes
    parts = [
        frame.assign(split=split, run=number)
        for number, run in enumerate(runs)
        for split, frame in _predictions_by_split(run)
    ]
    rows = pd.concat(parts)
    rows = rows[~rows["sample_id"].str.endswith("#masked")]
    if (rows.groupby("sample_id")["label"].nunique() > 1).any():
        raise ValueError("The runs give different labels to one image: take runs of one manifest.")
    columns = [f"prob_{name}" for name in classes]
    means = rows.groupby("sample_id", sort=True)[columns].mean()
    first = rows.drop_duplicates("sample_id").set_index("sample_id").loc[means.index]
    labels = [classes.index(name) for name in first["label"]]
    probs = means.to_numpy(float)
    images = [
        CheckedImage(str(name), row["label"], row["split"], row["group"])
        for name, row in first.iterrows()
    ]
    thumbnails = Thumbnails()

    def open_picture(index: int) -> Image.Image | None:
        run: FinishedRun = runs[int(first["run"].iloc[index])]
        found = thumbnails.find(run, images[index].name)
        return Image.open(io.BytesIO(found)).convert("RGB") if found else None

    return LabelCheck(
        images,
        classes,
        probs,
        find_suspects(probs, labels),
        f"validation and test predictions of {len(runs)} run(s); training images are not judged",
        [],
        open_picture,
        is_synthetic=any(run.is_synthetic for run in runs),
    )


def _predictions_by_split(run: FinishedRun) -> list[tuple[str, pd.DataFrame]]:
    """Return what the run wrote; older runs have no predictions of validation."""
    has_val = (run.path / VAL_PREDICTIONS).is_file()
    return [*([("val", run.val_predictions())] if has_val else []), ("test", run.predictions())]


def _open_encoder(weights: str) -> FrozenEncoder:
    spec = EncoderSpec("pooled", _BACKBONE, _NODES, _INPUT_SIZE)
    is_random = weights == RANDOM
    found = untrained_encoder(spec, seed=0) if is_random else library_encoder(spec, weights)
    return cast("FrozenEncoder", found.encoder)


def _find_groups(
    images: Sequence[AuditedImage], level: Level, *, exact: bool, workers: int
) -> list[str]:
    """Return the groups that the sources declare, or those found by pixels."""
    if all(image.declared_group for image in images):
        return [image.declared_group for image in images]
    clusters = find_clusters([i.path for i in images], num_workers=workers, exact=exact)
    group_of = clusters.group_of(level)
    return [group_of[image.path] for image in images]
