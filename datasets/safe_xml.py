"""XML from strangers: read without entities, so nothing expands and nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from datasets.errors import DatasetError

MAX_BYTES: Final = 50_000_000


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root element of the XML file.

    Raises:
        DatasetError: The file is missing, too large, no XML, or holds a document type, which is
            where entities are declared.
    """

    def refuse(*_: object) -> NoReturn:
        raise DatasetError(
            f"{path}: holds a document type declaration (DOCTYPE), which annotations do not need "
            "and which can hide an entity bomb. Remove it."
        )

    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path}: larger than the {MAX_BYTES:,} bytes allowed for XML.")
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except (OSError, expat.ExpatError) as error:
        raise DatasetError(f"{path}: cannot be read as XML ({error}).") from error
