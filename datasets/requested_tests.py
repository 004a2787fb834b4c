"""Sets to test on, as a command line names them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datasets.taxonomy import COUNTERPARTS

PREPARED: Final = "prepared"
TEST_SOURCES: Final = (*COUNTERPARTS["common"], PREPARED)


@dataclass(frozen=True)
class TestRequest:
    """A set that the user wants to test on: ``SOURCE=DIR`` or ``SOURCE/PART=DIR``.

    Attributes:
        source: One of `TEST_SOURCES`.
        part: Published part, e.g. ``TestB``; empty: all images.
        root: Folder of the set.
    """

    __test__ = False  # Its name would make pytest take it for a test.

    source: str
    part: str
    root: Path

    @property
    def name(self) -> str:
        """What files and tables call the test."""
        of_folder = re.sub(r"[^\w.-]+", "_", self.root.resolve().name).strip("._")
        own = of_folder or PREPARED if self.source == PREPARED else self.source
        return f"{own}-{self.part}" if self.part else own


def parse_request(text: str) -> TestRequest:
    """Return what ``SOURCE=DIR`` or ``SOURCE/PART=DIR`` asks for.

    Raises:
        ValueError: It is neither.
    """
    source, _, root = text.partition("=")
    name, _, part = source.partition("/")
    if name not in TEST_SOURCES or not root or (part and name == PREPARED):
        raise ValueError(
            f"--test {text}: expected SOURCE=DIR or SOURCE/PART=DIR, with SOURCE one of "
            f"{', '.join(TEST_SOURCES)}; {PREPARED} is what prepare_wbc.py wrote."
        )
    return TestRequest(name, part, Path(root))
