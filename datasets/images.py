"""Reading image files, whatever they are, as 8-bit RGB tensors of one size."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from datasets.deep_images import is_deep, to_gray
from datasets.errors import DatasetError, UnreadableImageError
from datasets.file_names import require_utf8
from datasets.image_files import DECODE_ERRORS, open_image
from datasets.packing import ImagePack, pack_path
from datasets.samples import Sample
from datasets.verification import require_content
from datasets.views import take_view

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
)
MASK_THRESHOLD: Final = 127
"""Masks come as JPEG, so inside and outside are only near 255 and 0."""

ImageSize = int | tuple[int, int]
"""Side of a square, or (height, width), in pixels."""

log = logging.getLogger(__name__)


class FeatureLookup(Protocol):
    """What a dataset needs of a feature store, or of what stands in for one."""

    def read(self, content_key: str, view: int = 0) -> Tensor:
        """Return the features of one sample, seen in this view of `datasets.views`."""


def list_images(folder: Path, *, any_name: bool = False) -> list[Path]:
    """Return the image files of `folder`, sorted; hidden files and other kinds are left out.

    Args:
        folder: Searched without its sub-folders.
        any_name: Names may be other than UTF-8, as nothing is going to be written of them.

    Raises:
        DatasetError: A name is not UTF-8.
    """
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    for path in paths if not any_name else ():
        require_utf8(path)
    return paths


def read_image(path: Path) -> Image.Image:
    """Return the image as 8-bit RGB, upright as its EXIF tag says.

    Gray, palette and CMYK images are converted; transparent pixels are laid on white, the colour
    of an empty slide. Gray images of more than 8 bits are scaled by their kind: integers, of 16
    bits, are divided by 257; floats in [0, 1] are taken times 255, up to 255 as they are, and up to
    65,535 divided by 257 (`deep_images`).

    Raises:
        UnreadableImageError: The file is missing, broken, no image, or has too many pixels or
            scans, or values that are none of these.
    """
    try:
        with open_image(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except DECODE_ERRORS as error:
        reason = str(error) or type(error).__name__
        reason = "no such file" if isinstance(error, FileNotFoundError) else reason
        raise UnreadableImageError(
            f"{path}: cannot be read as an image ({reason}). Mend or remove it, or pass "
            "--skip-unreadable to leave such files out."
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if is_deep(image):
        return to_gray(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        background = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(background, image).convert("RGB")
    return image.convert("RGB")


def read_mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask as (H, W) booleans, True inside.

    Args:
        path: A gray image, near 0 outside and near 255 inside.
        size: (width, height) of the image that the mask belongs to.

    Raises:
        UnreadableImageError: The file does not decode.
        DatasetError: The mask has another size than its image.
    """
    mask = read_image(path).convert("L")
    if mask.size != size:
        raise DatasetError(
            f"{path}: the mask has {mask.width}x{mask.height} pixels, its image "
            f"{size[0]}x{size[1]}. A mask must lie on its image pixel by pixel."
        )
    inside: NDArray[np.bool_] = np.asarray(mask) > MASK_THRESHOLD
    return inside


def read_sample(sample: Sample) -> Image.Image:
    """Return a sample's RGB image, black outside its mask where it has one.

    Raises:
        UnreadableImageError: A file does not decode.
        DatasetError: A file changed since the set was opened, or the mask has another size.
        OSError: The disk or the system failed.
    """
    image = read_image(sample.path)
    if sample.mask_path is not None:
        inside = read_mask(sample.mask_path, image.size)
        image = Image.fromarray(np.asarray(image) * inside[:, :, None])
    require_content(sample)  # After the decoding: what changed before it is noticed.
    return image


def to_tensor(image: Image.Image, size: ImageSize) -> Tensor:
    """Return the image resized (bilinear, antialiased) to uint8 (3, H, W) of `size`."""
    return torch.from_numpy(to_pixels(image, size)).permute(2, 0, 1).contiguous()


def to_pixels(image: Image.Image, size: ImageSize) -> NDArray[np.uint8]:
    """Return the image resized as `to_tensor` does it, as uint8 (H, W, 3)."""
    height, width = (size, size) if isinstance(size, int) else size
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR))


class ImageDataset(Dataset[dict[str, Any]]):
    """Samples as tensors: ``image`` uint8 (3, H, W), ``label`` and ``index`` int, ``features``.

    Where a prepared folder has a pack of this side, images come from it; they have the same pixels.
    The item (index, view) shows the sample, and has features of it, in that view of
    `datasets.views`.

    Args:
        samples: What to read, in the order of the indices.
        classes: Class names in the order of the label indices; without classes, and for a
                sample without label, the label is -1.
        image_size: Of the images given.
        features: To give with each image, by encoder name: stored ones, or `ImagesAsFeatures`.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        image_size: ImageSize,
        features: dict[str, FeatureLookup] | None = None,
    ) -> None:
        self.samples = list(samples)
        self.classes = tuple(classes)
        self.image_size = image_size
        self.features = features or {}
        label_index = {name: index for index, name in enumerate(self.classes)}
        self.labels = [label_index[s.label] if s.label and classes else -1 for s in self.samples]
        self._packs = _open_packs(self.samples, image_size)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        index, view = index if isinstance(index, tuple) else (index, 0)
        sample = self.samples[index]
        key = sample.content_key
        features = {name: store.read(key, view) for name, store in self.features.items()}
        return {
            "image": take_view(self._read(sample), view),
            "label": self.labels[index],
            "index": index,
            "features": features,
        }

    def _read(self, sample: Sample) -> Tensor:
        pack = self._packs.get(sample.pack_dir)
        if pack is not None and sample.content_key in pack:
            return pack.read(sample.content_key)
        return to_tensor(read_sample(sample), self.image_size)


class ImagesAsFeatures:
    """The images themselves in the place of stored features, for an encoder that is trained.

    Each read decodes the image, or takes it from a pack of this side where there is one.

    Args:
        samples: All that will be asked for.
        input_size: Side S of the encoder's images, in pixels.
    """

    def __init__(self, samples: Sequence[Sample], input_size: int) -> None:
        self._images = ImageDataset(samples, (), input_size)
        self._index = {sample.content_key: index for index, sample in enumerate(samples)}

    def read(self, content_key: str, view: int = 0) -> Tensor:
        """Return the image of one sample in this view, float (3, S, S) in [0, 1]."""
        image: Tensor = self._images[self._index[content_key], view]["image"]
        return image / 255


def _open_packs(samples: Iterable[Sample], image_size: ImageSize) -> dict[Path | None, ImagePack]:
    """Return the pack of each folder that has one of this size; packed images are square."""
    if not isinstance(image_size, int):
        height, width = image_size
        if height != width:
            return {}
        image_size = height
    folders = {sample.pack_dir for sample in samples if sample.pack_dir is not None}
    return {
        folder: ImagePack(path, image_size)
        for folder in sorted(folders)
        if (path := pack_path(folder, image_size)).is_file()
    }


def split_readable(
    paths: Iterable[Path], *, raise_first: bool = False
) -> tuple[list[Path], list[Path]]:
    """Decode every file once; return those that decode and those that do not.

    Raises:
        UnreadableImageError: `raise_first` is set and there is one that does not.
    """
    readable: list[Path] = []
    broken: list[Path] = []
    for path in tqdm(list(paths), desc="checking images", unit="image", leave=False, disable=None):
        try:
            read_image(path)
        except UnreadableImageError as error:
            if raise_first:
                raise
            log.warning("Left out: %s", error)
            broken.append(path)
        else:
            readable.append(path)
    return readable, broken
