"""Synthetic slides: tiled, pyramidal TIFF files that OpenSlide opens, and their ASAP XML.

Written by hand, field by field (TIFF 6.0, sections 2 and 15), since neither Pillow nor a codec
that the project needs anyway writes tiled JPEG pyramids.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_FILE_TILE: Final = 256
_JPEG_QUALITY: Final = 85
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_FORMAT: Final = {_SHORT: "H", _LONG: "I", _RATIONAL: "II"}
_BACKGROUND: Final = 242


def write_slide(
    path: Path, pixels: NDArray[np.uint8], *, num_levels: int = 3, mpp: float | None = 0.5
) -> None:
    """Write `pixels` as a slide whose levels are each half of the one before.

    Args:
        path: Of the TIFF file.
        pixels: Level 0, uint8 (H, W, 3).
        num_levels: In all.
        mpp: Micrometres a pixel of level 0; None writes a slide that does not say.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        link = 4
        for level in range(num_levels):
            size = (max(1, image.width >> level), max(1, image.height >> level))
            reduced = image.resize(size, Image.Resampling.BOX) if level else image
            link = _write_level(file, reduced, link, mpp and mpp * 2**level, is_reduced=level > 0)


def draw_slide(
    height: int, width: int, rng: np.random.Generator, lesion: tuple[int, int, int, int] | None
) -> NDArray[np.uint8]:
    """Return a slide, uint8 (H, W, 3): an ellipse of pink tissue on gray glass.

    Args:
        height: In pixels.
        width: In pixels.
        rng: Of the noise.
        lesion: Box (left, top, right, bottom) in pixels that is violet, as tumor.
    """
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    pixels = np.full((height, width, 3), _BACKGROUND, dtype=np.uint8)
    is_tissue = (x / 0.8) ** 2 + (y / 0.8) ** 2 < 1
    pixels[is_tissue] = (214, 140, 186)
    if lesion is not None:
        left, top, right, bottom = lesion
        pixels[top:bottom, left:right] = (120, 70, 150)
    grain = rng.integers(0, 14, (height, width, 1), dtype=np.uint8)
    return pixels - grain


def write_asap(path: Path, polygons: Mapping[str, Sequence[Sequence[tuple[float, float]]]]) -> None:
    """Write polygons, lists of (x, y) in level-0 pixels by group (``_0``, ``_2``), as ASAP XML."""
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "<Annotations>"]
    number = 0
    for group, members in polygons.items():
        for points in members:
            lines.append(
                f'<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup="{group}" '
                'Color="#F4FA58"><Coordinates>'
            )
            lines += [
                f'<Coordinate Order="{order}" X="{x}" Y="{y}" />'
                for order, (x, y) in enumerate(points)
            ]
            lines.append("</Coordinates></Annotation>")
            number += 1
    lines += ["</Annotations>", "</ASAP_Annotations>"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _write_level(
    file: BinaryIO, image: Image.Image, link: int, mpp: float | None, *, is_reduced: bool
) -> int:
    """Append one level, point the link at `link` to it, and return where its own link lies."""
    offsets, lengths = [], []
    for data in _encode_tiles(image):
        offsets.append(file.tell())
        lengths.append(len(data))
        file.write(data + b"\0" * (len(data) % 2))  # Everything starts at an even offset.
    fields: list[tuple[int, int, Sequence[int]]] = [
        (254, _LONG, [int(is_reduced)]),
        (256, _LONG, [image.width]),
        (257, _LONG, [image.height]),
        (258, _SHORT, [8, 8, 8]),
        (259, _SHORT, [7]),  # JPEG, each tile with its own tables.
        (262, _SHORT, [6]),  # YCbCr
        (277, _SHORT, [3]),
        (322, _SHORT, [_FILE_TILE]),
        (323, _SHORT, [_FILE_TILE]),
        (324, _LONG, offsets),
        (325, _LONG, lengths),
        (530, _SHORT, [2, 2]),  # Pillow halves the chroma.
    ]
    if mpp:
        per_centimetre = [round(1e7 / mpp), 1000]
        fields += [(282, _RATIONAL, per_centimetre), (283, _RATIONAL, per_centimetre)]
        fields += [(296, _SHORT, [3])]
    entries = b""
    for tag, kind, values in sorted(fields):
        count = len(values) // len(_FORMAT[kind])
        data = struct.pack(f"<{_FORMAT[kind] * count}", *values)
        if len(data) > 4:
            offset = file.tell()
            file.write(data + b"\0" * (len(data) % 2))
            data = struct.pack("<I", offset)
        entries += struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0")
    start = file.tell()
    file.write(struct.pack("<H", len(fields)) + entries + struct.pack("<I", 0))
    end = file.tell()
    file.seek(link)
    file.write(struct.pack("<I", start))
    file.seek(end)
    return end - 4


def _encode_tiles(image: Image.Image) -> Iterator[bytes]:
    # JPEG would let a black edge bleed into the picture, so its own edge is repeated.
    padding = ((0, -image.height % _FILE_TILE), (0, -image.width % _FILE_TILE), (0, 0))
    pixels = np.pad(np.asarray(image), padding, mode="edge")
    for top in range(0, len(pixels), _FILE_TILE):
        for left in range(0, pixels.shape[1], _FILE_TILE):
            memory = io.BytesIO()
            tile = pixels[top : top + _FILE_TILE, left : left + _FILE_TILE]
            Image.fromarray(tile).save(memory, "JPEG", quality=_JPEG_QUALITY)
            yield memory.getvalue()
