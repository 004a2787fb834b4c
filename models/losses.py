"""Losses that PyTorch does not have."""

# B batch, C channels, H W height width

from __future__ import annotations

from pytorch_msssim import ssim
from torch import Tensor


def ssim_loss(reconstructions: Tensor, images: Tensor) -> Tensor:
    """Return 1 - SSIM of each image, float32 (B,), from 0 (equal) to at most 2.

    SSIM as Wang et al., IEEE TIP 13:600 (2004): Gaussian window of 11 pixels, sigma 1.5. The data
    range is 1, that of the images; the library's default of 255 would make any two images in
    [0, 1] look alike.

    Args:
        reconstructions: Float (B, C, H, W) in [0, 1].
        images: The same shape and range.
    """
    similarity: Tensor = ssim(
        reconstructions.float(), images.float(), data_range=1.0, size_average=False
    )
    return 1 - similarity
