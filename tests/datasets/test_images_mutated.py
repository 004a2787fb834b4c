"""Reading broken files: either a good image comes out or an error that names the file."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import image_files
from datasets.errors import UnreadableImageError
from datasets.images import read_image

MUTATIONS = 30
"""Of each of the files below."""


@pytest.fixture(autouse=True)
def few_pixels_and_no_warnings(monkeypatch):
    """A header that claims a huge image is refused early, which keeps these tests quick."""
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def make_files() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    palette = image.convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "rgb.png": encode(image, "PNG"),
        "palette.png": encode(palette, "PNG", transparency=3),
        "deep.png": encode(Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 200), "PNG"),
        "clear.png": encode(image.convert("RGBA"), "PNG", exif=exif),
        "rgb.jpg": encode(image, "JPEG", exif=exif),
        "gray.jpg": encode(image.convert("L"), "JPEG"),
        "print.jpg": encode(image.convert("CMYK"), "JPEG"),
        "progressive.jpg": encode(image, "JPEG", progressive=True),
        "rgb.bmp": encode(image, "BMP"),
        "palette.bmp": encode(palette, "BMP"),
        "black.bmp": encode(image.convert("1"), "BMP"),
        "raw.tif": encode(image, "TIFF", exif=exif),
        "lzw.tif": encode(image, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encode(image, "TIFF", compression="tiff_deflate"),
        "jpeg.tif": encode(image, "TIFF", compression="jpeg"),
        "float.tif": encode(Image.fromarray(pixels[:, :, 0].astype(np.float32)), "TIFF"),
        "plain.gif": encode(image, "GIF"),
        "moving.gif": encode(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
        "plain.webp": encode(image, "WEBP"),
    }


FILES = make_files()


def outcome(path: Path, content: bytes) -> str:
    """Write and read the file; return what came out. Any other error fails the test."""
    path.write_bytes(content)
    try:
        image = read_image(path)
    except UnreadableImageError as error:
        return "refused" if path.name in str(error) else "refused without a name"
    assert image.mode == "RGB"
    assert np.asarray(image).shape == (image.height, image.width, 3)
    return "read"


def mutate(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Cut the file off, or change one or several bytes, more of them in the header."""
    if kind == "cut":
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    for _ in range(1 if kind == "byte" else int(rng.integers(2, 12))):
        reach = len(changed) if rng.random() < 0.4 else min(200, len(changed))
        changed[rng.integers(reach)] = rng.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
def test_whole_file_is_read(name: str, tmp_path: Path):
    assert outcome(tmp_path / name, FILES[name]) == "read"


@pytest.mark.parametrize("kind", ["cut", "byte", "bytes"])
@pytest.mark.parametrize("name", FILES)
def test_mutated_file_is_read_or_named_as_unreadable(name: str, kind: str, tmp_path: Path):
    rng = np.random.default_rng([list(FILES).index(name), len(kind)])
    found = Counter(
        outcome(tmp_path / name, mutate(FILES[name], kind, rng)) for _ in range(MUTATIONS)
    )
    assert found["read"] + found["refused"] == MUTATIONS
    if kind == "cut":  # Of a GIF that moves, the first picture is whole in the first half.
        assert found["refused"] >= MUTATIONS / 4


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".tif")])
def test_tag_of_a_tiff_with_a_type_that_it_must_not_have(name: str, tmp_path: Path):
    """Every entry of the directory, with every type of number that the format knows."""
    content = FILES[name]
    start = int.from_bytes(content[4:8], "little")
    for entry in range(int.from_bytes(content[start : start + 2], "little")):
        place = start + 2 + 12 * entry + 2
        for number_type in range(19):
            changed = bytearray(content)
            changed[place : place + 2] = number_type.to_bytes(2, "little")
            assert outcome(tmp_path / name, bytes(changed)) in ("read", "refused")


def test_size_of_a_mutation_is_bounded_and_there_are_many():
    assert len(FILES) * 3 * MUTATIONS >= 1000
    assert {Path(name).suffix for name in FILES} >= {".png", ".jpg", ".bmp", ".tif", ".gif"}
    assert max(map(len, FILES.values())) < 10_000
