"""XML from strangers: read without entities, so nothing expands and nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from datasets.errors import DatasetError

MAX_BYTES: Final = 200_000_000
"""The largest annotation file of CAMELYON16 has about a tenth of that."""


def read_xml(path: Path) -> Element:
    """Return the root element of the XML file.

    Raises:
        DatasetError: The file is missing, too large, no XML, or has a document type declaration,
            which is where entities are declared.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DatasetError(
                f"{path} has {size / 1e6:.0f} MB; XML files of more than {MAX_BYTES / 1e6:.0f} MB "
                "are refused. Is it the right file?"
            )
        root: Element = defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise DatasetError(
            f"{path} has a document type declaration (DOCTYPE), which annotations do not need and "
            "which can make a reader expand entities or open other files. Remove it, or export "
            "the file again."
        ) from error
    except FileNotFoundError as error:
        raise DatasetError(f"No XML file {path}.") from error
    except (OSError, ParseError, ValueError, LookupError) as error:
        raise DatasetError(f"{path}: cannot be read as XML ({error}). Copy it again.") from error
    return root
