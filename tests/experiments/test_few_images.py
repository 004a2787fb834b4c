"""One image a class, and classes that a split lacks, from the command's main to the result."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.errors import DatasetError
from datasets.manifest import write_manifest
from datasets.samples import Sample, hash_file
from experiments import base_wbc
from trainers.checkpoint import read_checkpoint

CLASSES = ("basophil", "eosinophil", "lymphocyte")


def write_set(folder: Path, counts: dict[str, tuple[int, int, int]], published: bool) -> Path:
    """Write a prepared set with so many train, val and test images of each class."""
    generator = np.random.default_rng(0)
    samples = []
    for name, numbers in counts.items():
        for split, number in zip(("train", "val", "test"), numbers, strict=True):
            for index in range(number):
                path = folder / name / f"{split}{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
                sample_id = path.relative_to(folder).as_posix()
                samples.append(Sample(sample_id, path, name, split, sample_id, hash_file(path)))
    info = {"name": "few", "classes": list(CLASSES), "has_published_test": published}
    write_manifest(folder, samples, folder, info)
    return folder


def train(data_root: Path, tmp_path: Path, **more: object) -> dict:
    options = base_wbc.Options(
        data_root=data_root, runs_root=tmp_path / "runs", device="cpu", epochs=1,
        precision="32-true", batch_size=2, **more,
    )  # fmt: skip
    return base_wbc.main(options).summary


@pytest.mark.parametrize("more", [{}, {"class_weights": True, "balanced_sampling": True}])
def test_one_image_a_class_trains_and_scores(tmp_path: Path, more: dict[str, bool]):
    root = write_set(tmp_path / "set", dict.fromkeys(CLASSES, (1, 1, 1)), published=False)
    summary = train(root, tmp_path, **more)
    test = summary["test"]
    assert sum(map(sum, test["confusion_matrix"])) == 3
    assert all(math.isfinite(test[name]) for name in ("loss", "balanced_accuracy", "macro_f1"))
    assert "NaN" not in json.dumps(summary)


@pytest.mark.parametrize(("split", "place"), [("train", 0), ("val", 1), ("test", 2)])
def test_a_class_that_a_drawn_split_lacks_is_named(tmp_path: Path, split: str, place: int):
    counts = dict.fromkeys(CLASSES, (1, 1, 1))
    counts["eosinophil"] = tuple(int(index != place) for index in range(3))
    root = write_set(tmp_path / "set", counts, published=False)
    with pytest.raises(DatasetError, match=f"no {split} images.* of eosinophil"):
        train(root, tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_class_that_a_published_test_lacks_is_scored_by_the_others_too(tmp_path: Path):
    counts = {"basophil": (1, 1, 1), "eosinophil": (1, 1, 0), "lymphocyte": (2, 1, 2)}
    root = write_set(tmp_path / "set", counts, published=True)
    test = train(root, tmp_path)["test"]
    assert test["restricted"]["classes"] == ["basophil", "lymphocyte"]
    assert test["per_class"]["eosinophil"]["support"] == 0
    assert all(math.isfinite(test["restricted"][n]) for n in ("accuracy", "macro_f1"))


def test_another_process_with_workers_writes_the_same_bits(tmp_path: Path, python):
    root = write_set(tmp_path / "set", dict.fromkeys(CLASSES, (2, 1, 1)), published=False)
    train(root, tmp_path)
    python(
        "experiments/base_wbc.py", "--data-root", root, "--runs-root", tmp_path / "other",
        "--device", "cpu", "--epochs", 1, "--precision", "32-true", "--batch-size", 2,
        "--num-workers", 2,
    )  # fmt: skip
    run = Path("base_wbc", "split-100", "seed-0")
    for name in ("predictions.csv", "val_predictions.csv", "metrics.csv"):
        ours, theirs = (tmp_path / folder / run / name for folder in ("runs", "other"))
        assert ours.read_bytes() == theirs.read_bytes(), name
    states = [
        read_checkpoint(tmp_path / folder / run / "checkpoints/last.ckpt")["model"]
        for folder in ("runs", "other")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
