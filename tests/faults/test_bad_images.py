"""Images that are broken, odd, huge or something else: a clear error or a right picture."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from datasets.errors import DatasetError, UnreadableImageError
from datasets.image_files import MAX_PIXELS, open_image
from datasets.images import ImageDataset, read_image, read_mask, split_readable
from datasets.listing import read_size
from datasets.masks import find_masks
from datasets.preparing import hash_images
from datasets.published import PublishedImage, PublishedSet
from datasets.samples import Sample, hash_file
from experiments.reporting.html.errors import _shrink
from tests.faults.corpus import encode

ROOT = Path(__file__).resolve().parents[2]
MAX_MEMORY = 3_000_000_000
"""Bytes of data in which a child reads the largest image that is allowed, Python, NumPy
and torch included."""

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def png_that_states(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header states a size."""
    content = bytearray(encode(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


BROKEN = {
    "zero bytes": b"",
    "text posing as JPEG": b"This is no image.\n" * 50,
    "web page posing as JPEG": b"<!DOCTYPE html><html><body>Log in first</body></html>",
    "vector graphics": b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>",
    "postscript, which Pillow would hand to Ghostscript": POSTSCRIPT,
    "header alone": encode(Image.new("RGB", (64, 64)), "JPEG")[:20],
    "truncated": encode(Image.effect_noise((64, 64), 80), "PNG")[:-600],
    "decompression bomb": png_that_states(60_000, 60_000),
    "a little too large": png_that_states(10_000, MAX_PIXELS // 10_000 + 1),
    "longer than any": png_that_states(1, 100_000),
    "icon": encode(Image.new("RGB", (32, 32)), "ICO"),
}


@pytest.fixture(autouse=True)
def _no_ghostscript(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test in which Pillow would start Ghostscript, whether it is installed or not."""

    def start(*_: object, **__: object) -> None:
        pytest.fail("Pillow starts Ghostscript")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)


def test_postscript_is_refused_whatever_its_name(tmp_path: Path):
    (tmp_path / "cell.eps").write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / "cell.eps") as image, pytest.raises(pytest.fail.Exception):
        image.load()
    for name in ("cell.eps", "cell.jpg"):
        (tmp_path / name).write_bytes(POSTSCRIPT)
        with pytest.raises(UnreadableImageError, match="cannot identify image file"):
            read_image(tmp_path / name)


LONGEST, WIDEST = 65_535, 10_000  # Sides in pixels: those of a JPEG, and of 100 million pixels.


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ((LONGEST, 1), (LONGEST + 1, 1)),
        ((1, LONGEST), (1, LONGEST + 1)),
        ((WIDEST, WIDEST), (WIDEST + 1, WIDEST)),
        ((WIDEST, WIDEST), (WIDEST, WIDEST + 1)),
    ],
    ids=str,
)
def test_the_largest_header_is_accepted_and_one_pixel_more_is_not(
    allowed: tuple[int, int], refused: tuple[int, int], tmp_path: Path
):
    path = tmp_path / "cell.png"
    path.write_bytes(png_that_states(*allowed))
    with open_image(path) as image:
        assert image.size == allowed
    path.write_bytes(png_that_states(*refused))
    with pytest.raises(UnreadableImageError, match="x".join(map(str, refused))), open_image(path):
        pass


def test_an_image_that_memory_does_not_suffice_for_is_named(tmp_path: Path, monkeypatch):
    def fail(_: Image.Image) -> None:
        raise MemoryError

    Image.new("RGB", (8, 8)).save(tmp_path / "cell.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(UnreadableImageError, match=r"cell\.png: .*MemoryError"):
        read_image(tmp_path / "cell.png")


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_every_reader_refuses_or_counts_what_is_no_good_image(content: bytes, tmp_path: Path):
    path = tmp_path / "cell.jpg"
    path.write_bytes(content)
    for read in (read_image, lambda p: read_mask(p, (1, 1))):
        with pytest.raises(UnreadableImageError, match=r"cell\.jpg"):
            read(path)
    assert split_readable([path]) == ([], [path])
    assert _shrink(path) is None
    (tmp_path / "mask/a").mkdir(parents=True)
    (tmp_path / "mask/a/cell.png").write_bytes(b"bad")
    with pytest.raises(UnreadableImageError):
        find_masks(tmp_path / "mask", {"a": [path]})


def test_a_bomb_is_refused_by_its_header(tmp_path: Path):
    (tmp_path / "cell.png").write_bytes(BROKEN["a little too large"])
    with pytest.raises(UnreadableImageError, match=r"10000x10001 pixels are more than"):
        read_image(tmp_path / "cell.png")


@pytest.mark.parametrize(
    "size", [(1, 1), (20_000, 20), (20, 20_000), (1, 5_000)], ids="{0[0]}x{0[1]}".format
)
def test_odd_sizes_are_read(size: tuple[int, int], tmp_path: Path):
    path = tmp_path / "cell.png"
    Image.new("RGB", size, (200, 100, 50)).save(path)
    data = ImageDataset([Sample("a", path, "a", "train", "a", hash_file(path))], ("a",), 16)
    assert data[0]["image"].shape == (3, 16, 16)
    assert data[0]["image"][:, 8, 8].tolist() == [200, 100, 50]
    assert read_size(path) == size


def test_ending_need_not_fit_the_content(tmp_path: Path):
    (tmp_path / "cell.jpg").write_bytes(encode(Image.new("RGB", (9, 9), (1, 200, 3)), "PNG"))
    assert read_image(tmp_path / "cell.jpg").getpixel((4, 4)) == (1, 200, 3)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_picture_is_read(file_format: str, tmp_path: Path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    content = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
    (tmp_path / "moving.img").write_bytes(content)
    red, green, _ = read_image(tmp_path / "moving.img").getpixel((8, 8))
    assert red > 150 > green


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_tag_turns_the_image_upright(orientation: int, tmp_path: Path):
    upright = np.zeros((4, 6, 3), dtype=np.uint8)
    upright[0, 0] = 255
    # How a camera held that way stores the scene, by the table of the EXIF standard.
    views = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
             5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1),
             7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, -1)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(views[orientation]))
    stored.save(tmp_path / "turned.png", exif=exif)
    assert (np.asarray(read_image(tmp_path / "turned.png")) == upright).all()


def segment(mark: int, content: bytes) -> bytes:
    return bytes([0xFF, mark]) + struct.pack(">H", len(content) + 2) + content


def with_scans(number: int) -> bytes:
    """Return a progressive JPEG of 8x8 pixels; every scan but the first one says nothing new."""
    content = b"\xff\xd8" + segment(0xDB, bytes([0] + [1] * 64))
    content += segment(0xC2, struct.pack(">BHHB3B", 8, 8, 8, 1, 1, 0x11, 0))
    content += segment(0xC4, bytes([0x00, 1, *[0] * 15, 0]))
    content += segment(0xC4, bytes([0x10, 1, *[0] * 15, 0]))
    content += segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + b"\x7f"
    return content + (segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + b"\x7f") * (number - 1)


def test_a_jpeg_that_passes_over_its_pixels_more_than_a_hundred_times_is_refused(tmp_path: Path):
    path = tmp_path / "cell.jpg"
    path.write_bytes(with_scans(100) + b"\xff\xd9")
    assert read_image(path).size == (8, 8)
    path.write_bytes(with_scans(101) + b"\xff\xd9")
    with pytest.raises(UnreadableImageError, match=r"cell\.jpg: a JPEG of more than 100 scans"):
        read_image(path)


def test_scans_of_thumbnails_and_behind_the_end_do_not_count(tmp_path: Path):
    content = with_scans(90)
    thumbnail = segment(0xE1, b"Exif" + with_scans(90) + b"\xff\xd9")
    (tmp_path / "cell.jpg").write_bytes(
        content[:2] + thumbnail + content[2:] + b"\xff\xd9" + content + b"\xff\xd9"
    )
    assert read_image(tmp_path / "cell.jpg").size == (8, 8)


def test_a_tiff_with_thousands_of_bad_tags_is_read_without_a_word(tmp_path: Path):
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "TIFF")
    content = buffer.getvalue()
    start = int.from_bytes(content[4:8], "little")
    number = int.from_bytes(content[start : start + 2], "little")
    entries = content[start + 2 : start + 2 + 12 * number]
    bad = b"".join(struct.pack("<HHII", tag, 7, 10**8, 8) for tag in range(40_000, 43_000))
    directory = struct.pack("<H", number + 3_000) + entries + bad + bytes(4)
    path = tmp_path / "cell.tif"
    path.write_bytes(content[:4] + struct.pack("<I", len(content)) + content[8:] + directory)
    code = "import sys; from pathlib import Path; from datasets.image_files import open_image"
    code += "\nwith open_image(Path(sys.argv[1])) as image: image.load(); print(image.size)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("(8, 8)", "")


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "zero.jpg", "folder.jpg"):
        with pytest.raises(UnreadableImageError, match="no regular file"):
            read_image(tmp_path / name)
        with pytest.raises(DatasetError, match="no regular file"):
            hash_file(tmp_path / name)


def test_bad_files_of_a_set_are_counted_and_the_rest_is_kept(tmp_path: Path):
    contents = [*BROKEN.values(), encode(Image.new("RGB", (8, 8)), "PNG")]
    for index, content in enumerate(contents):
        (tmp_path / f"{index}.png").write_bytes(content)
    images = tuple(PublishedImage(path.name, "a", path) for path in sorted(tmp_path.glob("*.png")))
    hashed = hash_images(PublishedSet("s", ("a",), images, tmp_path), skip_unreadable=True)
    assert len(hashed.skipped) == len(BROKEN)
    assert [image.image_id for image in hashed.published.images] == [f"{len(BROKEN)}.png"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "L", "CMYK"])
def test_the_largest_image_fits_into_the_stated_memory(mode: str, tmp_path: Path):
    """About 10 seconds each."""
    path = tmp_path / ("large.tif" if mode == "CMYK" else "large.png")
    Image.new(mode, (10_000, MAX_PIXELS // 10_000)).save(path, compress_level=1)
    code = "import sys; from pathlib import Path; from datasets.images import read_image, to_tensor"
    code += "; print(to_tensor(read_image(Path(sys.argv[1])), 64).sum().item())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY)),
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
