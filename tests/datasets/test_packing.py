"""Packs of decoded images."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datasets import images as images_module
from datasets import packing
from datasets.errors import DatasetError
from datasets.images import ImageDataset, ImagesAsFeatures, read_sample, to_tensor
from datasets.packing import ImagePack, pack_path, write_pack
from datasets.preparing import pack_images
from datasets.samples import Sample, SampleSet, hash_file

SIZE = 20


@pytest.fixture
def cells(tmp_path: Path) -> SampleSet:
    """Five JPEGs, one of them masked too, in a folder that may have packs."""
    rng = np.random.default_rng(0)
    samples = []
    for index in range(5):
        path = tmp_path / f"{index}.jpg"
        Image.fromarray(rng.integers(0, 255, (33 + index, 41, 3), dtype=np.uint8)).save(path)
        samples.append(
            Sample(f"{index}", path, "a", "train", f"{index}", hash_file(path), pack_dir=tmp_path)
        )
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(33, 41, dtype=np.uint8) * 255).save(mask)
    masked = replace(samples[0], sample_id="0#", mask_path=mask, mask_sha256=hash_file(mask))
    return SampleSet("set", ("a",), (*samples, masked))


def refuse_to_decode(*_: object) -> None:
    raise AssertionError("decoded although there is a pack")


def test_training_reads_the_pack_and_sees_the_same_pixels(cells, tmp_path, monkeypatch):
    decoded = [to_tensor(read_sample(sample), SIZE) for sample in cells.samples]
    assert pack_images(tmp_path, [cells, cells], SIZE) == pack_path(tmp_path, SIZE)
    dataset = ImageDataset(cells.samples, cells.classes, SIZE)
    monkeypatch.setattr(images_module, "read_sample", refuse_to_decode)
    for index, expected in enumerate(decoded):
        assert torch.equal(dataset[index]["image"], expected)
    assert len(ImagePack(pack_path(tmp_path, SIZE), SIZE)) == 6, "each content once"


@pytest.mark.parametrize("packed", [False, True])
def test_images_in_the_place_of_features_have_their_own_size(cells, tmp_path, monkeypatch, packed):
    decoded = {s.content_key: to_tensor(read_sample(s), SIZE) for s in cells.samples}
    if packed:
        pack_images(tmp_path, [cells], SIZE)
        monkeypatch.setattr(images_module, "read_sample", refuse_to_decode)
    lookup = ImagesAsFeatures(cells.samples, SIZE)
    for key, expected in decoded.items():
        assert torch.equal(lookup.read(key), expected.float() / 255)
    monkeypatch.undo()
    item = ImageDataset(cells.samples, ("a",), 8, {"toy": lookup})[5]
    assert item["image"].shape == (3, 8, 8)
    assert torch.equal(item["features"]["toy"] * 255, decoded[cells.samples[5].content_key].float())


def test_pack_is_read_by_worker_processes_after_the_parent_read_it(cells, tmp_path):
    pack_images(tmp_path, [cells], SIZE)
    dataset = ImageDataset(cells.samples, cells.classes, SIZE)
    alone = [dataset[index]["image"] for index in range(6)]
    loader = DataLoader(dataset, batch_size=1, num_workers=2)
    for batch, expected in zip(loader, alone, strict=True):
        assert torch.equal(batch["image"][0], expected)


def test_pack_survives_pickling(cells, tmp_path):
    pack_images(tmp_path, [cells], SIZE)
    pack = ImagePack(pack_path(tmp_path, SIZE), SIZE)
    key = cells.samples[2].content_key
    first = pack.read(key)
    assert torch.equal(pickle.loads(pickle.dumps(pack)).read(key), first)


def test_another_size_or_an_image_that_is_not_packed_is_decoded(cells, tmp_path):
    pack_images(tmp_path, [replace(cells, samples=cells.samples[1:])], SIZE)
    assert ImageDataset(cells.samples, ("a",), 8)[1]["image"].shape == (3, 8, 8)
    image = ImageDataset(cells.samples, ("a",), SIZE)[0]["image"]
    assert torch.equal(image, to_tensor(read_sample(cells.samples[0]), SIZE))


def test_damaged_chunk_is_noticed(cells, tmp_path):
    path = pack_images(tmp_path, [cells], SIZE)
    with h5py.File(path) as file:
        offset = file["images"].id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 5] ^= 0xFF
    path.write_bytes(content)
    pack = ImagePack(path, SIZE)
    key = sorted(sample.content_key for sample in cells.samples)[2]
    with pytest.raises(DatasetError, match="is damaged.*prepare the set again"):
        pack.read(key)


def test_unknown_image_is_refused(cells, tmp_path):
    pack = ImagePack(pack_images(tmp_path, [cells], SIZE), SIZE)
    assert "strange" not in pack
    with pytest.raises(DatasetError, match="does not hold the image strange"):
        pack.read("strange")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n truncated"])
def test_file_that_is_no_pack_is_refused(cells, tmp_path, content):
    pack_path(tmp_path, SIZE).write_bytes(content)
    with pytest.raises(DatasetError, match="no whole pack"):
        ImageDataset(cells.samples, ("a",), SIZE)


def test_pack_of_another_size_or_kind_under_this_name_is_refused(cells, tmp_path, monkeypatch):
    path = pack_images(tmp_path, [cells], SIZE)
    path.rename(pack_path(tmp_path, 99))
    with pytest.raises(DatasetError, match=r"\(3, 20, 20\); expected .*\(3, 99, 99\)"):
        ImageDataset(cells.samples, ("a",), 99)
    pack_images(tmp_path, [cells], SIZE)
    monkeypatch.setattr(packing, "_FORMAT", "rgb, bicubic")
    with pytest.raises(DatasetError, match="expected rgb, bicubic"):
        ImageDataset(cells.samples, ("a",), SIZE)


def read_all(path: Path, names: list[str]) -> dict[str, torch.Tensor]:
    pack = ImagePack(path, 4)
    return {name: pack.read(name) for name in names if name in pack}


def test_no_flipped_bit_makes_a_pack_serve_other_pixels(tmp_path):
    """Wherever it is: in pixels, names, checksums, or the index, which leads to chunks."""
    names, images = ["a", "b", "c"], torch.randint(1, 256, (3, 3, 4, 4), dtype=torch.uint8)
    path = pack_path(tmp_path, 4)
    write_pack(path, 4, names, images)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            served = read_all(path, names)
        except DatasetError:
            refused += 1
            continue
        for name, pixels in served.items():
            assert torch.equal(pixels, images[names.index(name)]), place
    assert refused > images.numel() / 3


def test_interrupted_writing_leaves_no_pack(tmp_path):
    def images():
        yield torch.zeros(3, 4, 4, dtype=torch.uint8)
        raise KeyboardInterrupt

    path = pack_path(tmp_path, 4)
    with pytest.raises(KeyboardInterrupt):
        write_pack(path, 4, ["a", "b"], images())
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_said_before_anything_is_decoded(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DatasetError, match="--image-size"):
        pack_images(tmp_path, [cells], SIZE)
