"""Small images kept in memory: decoding takes longer than learning from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor
from tqdm import tqdm

from datasets.images import FeatureLookup, ImageDataset, ImageSize
from datasets.samples import Sample

MAX_BYTES: Final = 2**30

_Key = tuple[str, ImageSize]

log = logging.getLogger(__name__)


class ImageMemory:
    """Decoded, resized images by content and size, shared by all datasets that it opens.

    Worker processes that are forked, as on Linux, share it too.

    Args:
        max_bytes: Images beyond it are read from their files each time.

    Attributes:
        num_bytes: Of the images kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._kept: dict[_Key, Tensor] = {}

    def open_images(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        image_size: ImageSize,
        features: dict[str, FeatureLookup] | None = None,
    ) -> ImageDataset:
        """Return the dataset of `samples`; images that are not yet kept are decoded now.

        Args:
            samples: As `ImageDataset`.
            classes: As `ImageDataset`.
            image_size: As `ImageDataset`.
            features: As `ImageDataset`.

        Raises:
            UnreadableImageError: An image does not decode.
        """
        data = _KeptImages(samples, classes, image_size, features, self._kept)
        missing = {
            sample.content_key: index
            for index, sample in enumerate(data.samples)
            if (sample.content_key, image_size) not in self._kept
        }
        bar = tqdm(missing.items(), desc="decoding images", leave=False, disable=None)
        for number, (content_key, index) in enumerate(bar):
            image = data[index]["image"]
            if self.num_bytes + image.nbytes > self.max_bytes:
                log.info(
                    "%d images are decoded anew each epoch: more than %.1f GB are not kept.",
                    len(missing) - number,
                    self.max_bytes / 1e9,
                )
                break
            self._kept[content_key, image_size] = image
            self.num_bytes += image.nbytes
        return data


class _KeptImages(ImageDataset):
    """An `ImageDataset` that looks into a memory first."""

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        image_size: ImageSize,
        features: dict[str, FeatureLookup] | None,
        kept: Mapping[_Key, Tensor],
    ) -> None:
        super().__init__(samples, classes, image_size, features)
        self._kept = kept

    def _read(self, sample: Sample) -> Tensor:
        kept = self._kept.get((sample.content_key, self.image_size))
        return super()._read(sample) if kept is None else kept
