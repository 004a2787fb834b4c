"""Statistics of pixels against images whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.exploration import (
    MEAN_IMAGE_SIZE,
    cut_at,
    fit_into_square,
    histogram,
    measure_pixels,
    to_gray,
)


def plain(red: int, green: int, blue: int, height: int = 10, width: int = 12) -> np.ndarray:
    return np.full((height, width, 3), (red, green, blue), dtype=np.uint8)


def test_plain_image_has_one_peak_a_channel():
    found = measure_pixels([plain(10, 20, 30)])
    assert found.colour_histogram[0, 10] == found.colour_histogram[1, 20] == 1
    assert found.colour_histogram[2, 30] == 1
    assert found.mean_colour == pytest.approx((10, 20, 30))
    assert found.colour_histogram.sum(axis=1) == pytest.approx(1)


def test_half_dark_image_is_half_below_the_threshold():
    pixels = plain(220, 220, 220)
    pixels[:, :6] = 100
    found = measure_pixels([pixels], thresholds=(100, 101, 150, 220, 221))
    assert found.share_below.tolist() == [[0, 0.5, 0.5, 0.5, 1]]


def test_share_below_equals_a_count_of_the_pixels():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (17, 23, 3), dtype=np.uint8) for _ in range(4)]
    found = measure_pixels(images)
    for row, pixels in zip(found.share_below, images, strict=True):
        gray = to_gray(pixels)
        assert row == pytest.approx([(gray < t).mean() for t in (150, 180, 200)])


def test_gray_levels_follow_the_luma_of_itu_601():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    expected = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(to_gray(pixels) - expected).max() <= 1


def test_large_images_count_no_more_than_small_ones():
    found = measure_pixels([plain(0, 0, 0, 4, 4), plain(200, 200, 200, 400, 400)])
    assert found.mean_gray == pytest.approx(100)
    assert found.mean_colour == pytest.approx((100, 100, 100))
    assert found.mean_image.mean() == pytest.approx(100)


def test_mean_image_of_black_and_white_is_gray_in_the_middle():
    found = measure_pixels([plain(0, 0, 0), plain(255, 255, 255, 30, 7)])
    assert found.mean_image.shape == (MEAN_IMAGE_SIZE, MEAN_IMAGE_SIZE, 3)
    assert found.mean_image == pytest.approx(127.5)


def test_no_image_gives_zeros_and_no_examples():
    found = measure_pixels([])
    assert found.num_images == 0
    assert found.examples == ()
    assert found.share_below.shape == (0, 3)
    assert not found.gray_histogram.any()
    assert not found.mean_image.any()


def test_gray_image_has_equal_channels():
    ramp = np.repeat(np.arange(240, dtype=np.uint8).reshape(15, 16, 1), 3, axis=2)
    found = measure_pixels([ramp])
    assert (found.colour_histogram == found.gray_histogram).all()


def test_only_as_many_examples_as_asked_are_kept():
    found = measure_pixels((plain(v, v, v) for v in range(20)), num_examples=3, example_size=16)
    assert [int(e[8, 8, 0]) for e in found.examples] == [0, 1, 2]
    assert all(example.shape == (16, 16, 3) for example in found.examples)


@pytest.mark.parametrize("threshold", [0, 256, -3])
def test_threshold_out_of_range_is_refused(threshold: int):
    with pytest.raises(ValueError, match="1 to 255"):
        measure_pixels([], thresholds=(threshold,))


def test_cut_leaves_white_from_the_threshold_on():
    gray = np.array([[149, 150, 151]], dtype=np.uint8)
    assert cut_at(gray, 150).tolist() == [[0, 255, 255]]


def test_histogram_holds_shares():
    shares = histogram(np.array([[0, 0, 255, 7]], dtype=np.uint8))
    assert (shares[0], shares[7], shares[255]) == (0.5, 0.25, 0.25)
    assert len(shares) == 256


def test_wide_image_is_centred_on_white():
    square = fit_into_square(plain(0, 0, 0, 10, 40), 40)
    assert (square[:15] == 255).all()
    assert not square[15:25].any()
    assert (square[25:] == 255).all()


def test_image_of_one_pixel_and_a_thin_line_fit():
    assert fit_into_square(plain(1, 2, 3, 1, 1), 9)[4, 4].tolist() == [1, 2, 3]
    assert fit_into_square(plain(1, 2, 3, 1, 500), 20).shape == (20, 20, 3)
