"""Masks that lie in folders of their own or beside their images, and are no images of cells."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datasets.errors import UnreadableImageError
from datasets.images import read_image

MASK_FOLDERS: Final = frozenset({"mask", "masks"})

_MAX_LEVELS: Final = 16

log = logging.getLogger(__name__)


def leave_out_masks(files: Sequence[Path], root: Path) -> list[Path]:
    """Return the files below `root` that are no masks beside their images; say how many were."""
    names = Counter(path.with_suffix("") for path in files)
    masks = {path for path in files if names[path.with_suffix("")] > 1 and _is_mask(path)}
    if masks:
        log.info("%s: %d masks beside their images are left out.", root, len(masks))
    return [path for path in files if path not in masks]


def _is_mask(path: Path) -> bool:
    """Return whether a file is a PNG of a few levels, as segmentation_WBC's 001.png by 001.bmp."""
    if path.suffix.lower() != ".png":
        return False
    try:
        return read_image(path).getcolors(_MAX_LEVELS) is not None
    except UnreadableImageError:
        return False
