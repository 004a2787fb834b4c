"""Image files from strangers, opened by few decoders and only up to a size."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image

from datasets.errors import UnreadableImageError

FORMATS: Final = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
"""What a file's content may be, whatever its ending. Pillow knows more, some of it by starting
other programs: a JPEG by name may be PostScript, for which it calls Ghostscript."""

MAX_PIXELS: Final = 100_000_000
"""Larger images are refused as decompression bombs; the largest we read have 2000x2000."""
MAX_SIDE: Final = 65_535
"""That of JPEG. Pillow keeps a pointer a row, so 100 million rows of one pixel took 6 GB."""
MAX_SCANS: Final = 100
"""Passes over a JPEG; a progressive one has about ten. Each goes over all pixels and takes but some
bytes, so that thousands of them in a small file take minutes."""

# Neither 0xFF00, a byte of the picture, nor the restart marks in it, nor 0xFF that fills a gap.
_JPEG_MARK: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_WITHOUT_LENGTH: Final = b"\x01\xd8"
_SCAN, _END = 0xDA, 0xD9

DECODE_ERRORS: Final = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, MemoryError,
    # Pillow lets these through where a TIFF's tag has a type or size that it must not have.
    TypeError, OverflowError, ZeroDivisionError, AttributeError,
    Image.DecompressionBombError,
)  # fmt: skip
"""What a broken file can make Pillow raise; also what a good one can where memory is short."""


# One broken TIFF makes Pillow warn thousands of times. What matters comes as an error, and a filter
# for each reading would not do: threads share the filters.
warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Yield the image in a file, of which only the header is read so far.

    Raises:
        UnreadableImageError: It is no regular file, or larger than `MAX_PIXELS` or `MAX_SIDE`,
            or a JPEG of more than `MAX_SCANS`.
        Exception: One of `DECODE_ERRORS`: it is missing, broken or of none of `FORMATS`.
    """
    # A pipe would be waited for, and a device may never end.
    if path.exists() and not path.is_file():
        raise UnreadableImageError(f"{path} is no regular file. Remove it.")
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImageError(
                f"{path}: {image.width}x{image.height} pixels are more than the "
                f"{MAX_PIXELS:,} allowed."
            )
        if max(image.size) > MAX_SIDE:
            raise UnreadableImageError(
                f"{path}: {image.width}x{image.height} is longer than the {MAX_SIDE:,} pixels "
                "allowed."
            )
        # MPO is what Pillow calls a JPEG with further pictures behind the first.
        if image.format in ("JPEG", "MPO"):
            _require_few_scans(path)
        yield image


def _require_few_scans(path: Path) -> None:
    with path.open("rb") as file:
        # No usual image of so many pixels is longer; what is may well take longer.
        content = file.read(min(path.stat().st_size, 3 * MAX_PIXELS))
    if _count_scans(content) > MAX_SCANS:
        raise UnreadableImageError(
            f"{path}: a JPEG of more than {MAX_SCANS} scans, each a pass over the whole image; it "
            "was made to take long. Save it again as a usual JPEG, or remove it."
        )


def _count_scans(content: bytes) -> int:
    """Return the number of scans of the first picture, at most one more than `MAX_SCANS`.

    Segments are stepped over by their length, so thumbnails in them do not count.
    """
    number, place = 0, 0
    while number <= MAX_SCANS and (found := _JPEG_MARK.search(content, place)):
        place = found.end()
        mark = content[place - 1]
        if mark == _END:
            break
        if mark not in _WITHOUT_LENGTH:
            number += mark == _SCAN
            place += int.from_bytes(content[place : place + 2], "big")
    return number
