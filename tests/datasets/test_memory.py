"""Images kept in memory: the pixels of the files, decoded once, up to a limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import images
from datasets.errors import UnreadableImageError
from datasets.images import ImageDataset
from datasets.memory import ImageMemory
from datasets.samples import Sample, hash_file

SIZE = (6, 8)
BYTES = 3 * 6 * 8


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    generator = np.random.default_rng(0)
    found = []
    for index in range(4):
        path = tmp_path / f"{index}.jpg"
        Image.fromarray(generator.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)
        found.append(Sample(path.name, path, "ab"[index % 2], "train", path.name, hash_file(path)))
    return found


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files decoded so far."""
    paths: list[Path] = []
    read_image = images.read_image

    def read(path: Path):
        paths.append(path)
        return read_image(path)

    monkeypatch.setattr(images, "read_image", read)
    return paths


def test_kept_images_are_those_of_the_files_to_the_bit(samples):
    kept = ImageMemory().open_images(samples, "ab", SIZE)
    plain = ImageDataset(samples, "ab", SIZE)
    assert len(kept) == len(plain)
    for index in range(len(plain)):
        assert torch.equal(kept[index].pop("image"), plain[index].pop("image"))
        assert {k: v for k, v in kept[index].items() if k != "image"} == {
            k: v for k, v in plain[index].items() if k != "image"
        }


def test_each_image_is_decoded_once_for_all_datasets(samples, decoded):
    memory = ImageMemory()
    for part in (samples, samples[1:], samples[::-1]):
        data = memory.open_images(part, "ab", SIZE)
        for index in range(len(data)):
            data[index]
    assert sorted(decoded) == sorted(sample.path for sample in samples)
    assert memory.num_bytes == 4 * BYTES


def test_another_size_is_another_image(samples):
    memory = ImageMemory()
    memory.open_images(samples, "ab", SIZE)
    assert memory.open_images(samples, "ab", 8)[0]["image"].shape == (3, 8, 8)


def test_images_beyond_the_limit_are_read_from_their_files(samples, decoded):
    memory = ImageMemory(max_bytes=2 * BYTES)
    data = memory.open_images(samples, "ab", SIZE)
    assert memory.num_bytes == 2 * BYTES
    decoded.clear()
    plain = ImageDataset(samples, "ab", SIZE)
    kept = [data[index]["image"] for index in range(4)]
    assert decoded == [sample.path for sample in samples[2:]]
    assert all(torch.equal(kept[index], plain[index]["image"]) for index in range(4))


def test_an_image_that_does_not_decode_is_named(samples):
    samples[2].path.write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"2\.jpg: cannot be read"):
        ImageMemory().open_images(samples, "ab", SIZE)
