"""Reading images of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import image_files
from datasets.errors import DatasetError, UnreadableImageError
from datasets.images import (
    ImageDataset,
    ImagesAsFeatures,
    list_images,
    read_image,
    read_mask,
    read_sample,
    split_readable,
)
from datasets.samples import Sample, hash_file
from datasets.views import take_view

GRAY = np.linspace(0, 255, 24 * 20).reshape(24, 20).astype(np.uint8)


def sample(path: Path, **changes) -> Sample:
    if "mask_path" in changes:
        changes["mask_sha256"] = hash_file(changes["mask_path"])
    return Sample(path.name, path, "a", "train", path.name, hash_file(path), **changes)


def test_gray_image_has_three_equal_channels(tmp_path: Path):
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    assert (np.asarray(read_image(tmp_path / "gray.png")) == GRAY[:, :, None]).all()


def test_sixteen_bit_image_keeps_its_shades(tmp_path: Path):
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert (np.asarray(read_image(tmp_path / "deep.png"))[:, :, 0] == GRAY).all()


@pytest.mark.parametrize("scale", [1 / 255, 1, 257])
def test_floats_keep_their_shades_on_each_of_the_usual_scales(tmp_path: Path, scale: float):
    Image.fromarray((GRAY.astype(np.float64) * scale).astype(np.float32)).save(
        tmp_path / "float.tif"
    )
    assert (np.asarray(read_image(tmp_path / "float.tif"))[:, :, 0] == GRAY).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 5_700_000]], np.int32), "mode I, reach from 0 to 5.7e.06; allowed are 0"),
        (np.array([[-3, 9]], np.int32), "mode I, reach from -3 to 9; allowed are 0 to 65535"),
        (np.array([[-0.5, 1]], np.float32), "mode F, reach from -0.5 to 1"),
        (np.array([[0, 70_000]], np.float32), "mode F, reach from 0 to 70000"),
        (np.array([[0, 200]], np.uint16), "mode I;16, reach from 0 to 200 .*nearly black"),
        (np.array([[0, 4095]], np.uint16), "mode I;16, reach from 0 to 4095 .*nearly black"),
    ],
)
def test_values_that_fit_no_scale_are_refused_and_not_clipped(tmp_path: Path, values, message: str):
    Image.fromarray(values).save(tmp_path / "deep.tif")
    with pytest.raises(UnreadableImageError, match=rf"deep\.tif.*{message}.*Convert it to 8-bit"):
        read_image(tmp_path / "deep.tif")


def test_transparent_pixels_are_laid_on_white(tmp_path: Path):
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:, 2:] = (10, 20, 30, 255)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "clear.png")
    rgb = np.asarray(read_image(tmp_path / "clear.png"))
    assert (rgb[:, :2] == 255).all()
    assert (rgb[:, 2:] == (10, 20, 30)).all()


def test_cmyk_image_is_converted(tmp_path: Path):
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    red.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    rgb = np.asarray(read_image(tmp_path / "print.jpg")).mean(axis=(0, 1))
    assert rgb[0] > 200
    assert max(rgb[1:]) < 60


def test_palette_image_is_converted(tmp_path: Path):
    Image.new("RGB", (8, 8), (0, 128, 255)).convert("P").save(tmp_path / "palette.gif")
    image = read_image(tmp_path / "palette.gif")
    assert image.mode == "RGB"


def test_exif_rotation_is_applied(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (10, 30)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\xff\xd8\xff\xe0 truncated"])
def test_broken_file_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"broken\.jpg.*--skip-unreadable"):
        read_image(tmp_path / "broken.jpg")


def test_truncated_jpeg_is_refused_not_filled_up(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImageError, match=r"half\.jpg"):
        read_image(tmp_path / "half.jpg")


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UnreadableImageError, match="no such file"):
        read_image(tmp_path / "gone.jpg")


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 99)
    Image.new("RGB", (10, 10)).save(tmp_path / "bomb.png")
    with pytest.raises(UnreadableImageError, match="10x10 pixels are more than"):
        read_image(tmp_path / "bomb.png")


def test_hidden_files_and_other_kinds_are_not_images(tmp_path: Path):
    for name in ("b.JPG", "a.png", ".DS_169665.jpg", "Thumbs.db", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]


def test_masked_sample_is_black_outside_the_mask(tmp_path: Path):
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "cell.png")
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    dataset = ImageDataset(
        [sample(tmp_path / "cell.png", mask_path=tmp_path / "mask.png")], ("a",), image_size=8
    )
    image = dataset[0]["image"]
    assert image.shape == (3, 8, 8)
    assert image.dtype == torch.uint8
    assert (image[:, :, :4] == 0).all()
    assert image[:, 0, 7].tolist() == [200, 100, 50]


def test_mask_of_another_size_is_refused(tmp_path: Path):
    Image.new("L", (8, 9)).save(tmp_path / "mask.png")
    with pytest.raises(DatasetError, match=r"8x9 pixels, its image 8x8"):
        read_mask(tmp_path / "mask.png", (8, 8))


def test_images_are_resized_to_the_asked_side_and_labelled(tmp_path: Path):
    Image.new("RGB", (30, 20)).save(tmp_path / "cell.png")
    entry = ImageDataset([sample(tmp_path / "cell.png")], ("b", "a"), image_size=16)[0]
    assert entry["image"].shape == (3, 16, 16)
    assert entry["label"] == 1


def test_split_readable_lists_what_does_not_decode(tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    readable, broken = split_readable([tmp_path / "good.png", tmp_path / "bad.png"])
    assert [path.name for path in readable] == ["good.png"]
    assert [path.name for path in broken] == ["bad.png"]
    with pytest.raises(UnreadableImageError, match=r"bad\.png"):
        split_readable([tmp_path / "bad.png"], raise_first=True)


class ViewsAsFeatures:
    def read(self, content_key: str, view: int = 0) -> torch.Tensor:
        return torch.tensor([float(view)])


def test_an_item_with_a_view_shows_image_and_features_in_it(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    dataset = ImageDataset([sample(tmp_path / "a.png")], ("a",), 8, {"toy": ViewsAsFeatures()})
    upright = dataset[0]["image"]
    for view in range(8):
        item = dataset[0, view]
        assert torch.equal(item["image"], take_view(upright, view))
        assert item["features"]["toy"].item() == view
        assert (item["index"], item["label"]) == (0, 0)
    images = ImagesAsFeatures(dataset.samples, 8)
    key = dataset.samples[0].content_key
    assert torch.equal(images.read(key, 5), take_view(upright, 5) / 255)


@pytest.mark.parametrize("changed", ["cell.png", "mask.png"])
def test_a_sample_whose_image_or_mask_changed_since_is_refused(changed: str, tmp_path: Path):
    for name in ("cell.png", "mask.png"):
        Image.new("RGB", (8, 8), "white").save(tmp_path / name)
    masked = sample(tmp_path / "cell.png", mask_path=tmp_path / "mask.png")
    assert read_sample(masked).getpixel((0, 0)) == (255, 255, 255)
    Image.new("RGB", (8, 8), (254, 255, 255)).save(tmp_path / changed)
    with pytest.raises(DatasetError, match=rf"{changed} changed since this set was opened"):
        read_sample(masked)
