"""Image files from strangers, opened by few decoders and only up to a size."""

from __future__ import annotations

import struct
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

DECODE_ERRORS: Final = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, MemoryError,
    # Pillow lets these through where a TIFF's tag has a type or size that it must not have.
    TypeError, OverflowError, ZeroDivisionError, AttributeError,
    Image.DecompressionBombError,
)  # fmt: skip
"""What a broken file can make Pillow raise; also what a good one can where memory is short."""


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Yield the image in a file, of which only the header is read so far.

    Raises:
        UnreadableImageError: It is no regular file, or larger than `MAX_PIXELS` or `MAX_SIDE`.
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
        yield image
