"""JSON from strangers: an object of bounded size, or a clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 50_000_000
"""The largest that the project writes, the summary of a set with many skipped files, has 1 MB."""


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: The file is missing, too large, or no JSON object in UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES / 1e6:.0f} MB are refused")
        content = json.loads(path.read_text(encoding="utf-8"))
    # Lists within lists within lists, more than any writer makes, exhaust the parser's stack.
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object.")
    return content
