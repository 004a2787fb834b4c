"""XML from strangers: read without entities, so nothing expands and nothing is fetched."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from datasets.errors import DatasetError

MAX_BYTES: Final = 200_000_000
"""The largest annotation file of CAMELYON16 has about a tenth of that."""
MAX_MARKS: Final = 8_000_000
"""Elements and attributes, counted by their ``<`` and ``=``; a point of a polygon has four. Each
takes some hundred bytes of memory, and only a few in the file."""


def read_xml(path: Path) -> Element:
    """Return the root element of the XML file.

    Raises:
        DatasetError: The file is missing, too large, no XML, or has a document type declaration,
            which is where entities are declared.
    """
    content = b""
    try:
        if path.exists() and not path.is_file():
            raise DatasetError(f"{path} is no regular file. Remove it.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DatasetError(
                f"{path} has {size / 1e6:.0f} MB; XML files of more than {MAX_BYTES / 1e6:.0f} MB "
                "are refused. Is it the right file?"
            )
        content = path.read_bytes()
        _require_few_marks(content, path)
        # All at once: in blocks, expat before 2.6 reads one long name or value anew for each block.
        root: Element = defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise DatasetError(
            f"{path} has a document type declaration (DOCTYPE), which annotations do not need and "
            "which can make a reader expand entities or open other files. Remove it, or export "
            "the file again."
        ) from error
    except FileNotFoundError as error:
        raise DatasetError(f"No XML file {path}.") from error
    except (OSError, ParseError, ValueError, LookupError, MemoryError) as error:
        reason = "it holds a NUL byte" if _holds_nul(content) else error
        raise DatasetError(f"{path}: cannot be read as XML ({reason}). Copy it again.") from error
    return root


def _require_few_marks(content: bytes, path: Path) -> None:
    number = content.count(b"<") + content.count(b"=")
    if number > MAX_MARKS:
        raise DatasetError(
            f"{path} has {number:,} elements and attributes; more than {MAX_MARKS:,} are refused. "
            "Is it the right file?"
        )


def _holds_nul(content: bytes) -> bool:
    """Return whether there is a NUL byte that is not half a character of UTF-16."""
    return b"\0" in content and not content.startswith((b"<\0", b"\0<", BOM_UTF16_LE, BOM_UTF16_BE))
