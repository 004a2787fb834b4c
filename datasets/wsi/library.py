"""The OpenSlide library, which may lack where the package is there."""

from __future__ import annotations

import openslide


def openslide_version() -> str:
    """Return the version of the library."""
    return str(openslide.__library_version__)
