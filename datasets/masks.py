"""Masks that lie beside a set's images, each under its image's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets.errors import DatasetError, UnreadableImageError
from datasets.image_files import DECODE_ERRORS, open_image
from datasets.images import list_images


def find_masks(root: Path, images: Mapping[str, Sequence[Path]]) -> dict[Path, Path]:
    """Return the mask of each image that has one.

    Args:
        root: Folder with one folder of masks a class; it may be absent, then there are none.
        images: Image files by class.

    Raises:
        DatasetError: A mask has no image, or another size than its image.
        UnreadableImageError: A mask is no image.
    """
    if not root.is_dir():
        return {}
    folders = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    masks: dict[Path, Path] = {}
    for label, paths in images.items():
        by_stem = {path.stem: path for path in paths}
        folder = folders.get(label.lower())
        for mask_path in list_images(folder) if folder else []:
            image_path = by_stem.get(mask_path.stem)
            if image_path is None:
                raise DatasetError(
                    f"{mask_path}: a mask without image; expected an image named "
                    f"{mask_path.stem} among the {label} images. Remove the mask or add the image."
                )
            _require_same_size(image_path, mask_path)
            masks[image_path] = mask_path
    return masks


def _require_same_size(image_path: Path, mask_path: Path) -> None:
    image_size, mask_size = _read_size(image_path), _read_size(mask_path)
    if image_size != mask_size:
        raise DatasetError(
            f"{mask_path}: the mask has {mask_size[0]}x{mask_size[1]} pixels, its image "
            f"{image_path.name} {image_size[0]}x{image_size[1]}. A mask must lie on its image "
            "pixel by pixel."
        )


def _read_size(path: Path) -> tuple[int, int]:
    try:
        with open_image(path) as image:
            return image.size
    except DECODE_ERRORS as error:
        raise UnreadableImageError(f"{path}: cannot be read as an image ({error}).") from error
