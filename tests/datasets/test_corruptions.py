"""Corruptions: graded, repeatable, true to their formulas."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import hed2rgb, rgb_from_hed

from datasets import corruptions
from datasets.corruptions import CORRUPTION_NAMES, CORRUPTIONS, STAINS, corrupt, make_disc
from datasets.synthetic.cells import draw_cell

SIDE = 96


@pytest.fixture(scope="module")
def cells() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [
        np.asarray(draw_cell(label, SIDE, generator)[0]) for label in ("neutrophil", "monocyte")
    ]


def apply(image: np.ndarray, name: str, severity: int, **more: object) -> np.ndarray:
    return corrupt(image, name, severity, **{"seed": 0, "image_id": "a.png", **more})


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_each_severity_is_farther_from_the_clean_image(cells, name: str):
    for image in cells:
        changed = [apply(image, name, severity).astype(float) for severity in range(6)]
        distances = [np.sqrt(((image - other) ** 2).mean()) for other in changed]
        assert distances[0] == 0
        assert (np.diff(distances) > 0).all(), distances
        assert distances[5] > 5


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (41, 20)])
def test_size_and_type_are_kept_whatever_the_shape(name: str, shape: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for severity in range(6):
        changed = apply(image, name, severity)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_draw_depends_on_seed_and_image_only_and_the_image_is_left_alone(cells, name: str):
    image = cells[0]
    before = image.copy()
    first = apply(image, name, 3)
    apply(image, name, 1, image_id="b.png")
    np.testing.assert_array_equal(apply(image.copy(), name, 3), first)
    np.testing.assert_array_equal(image, before)
    others = [apply(image, name, 3, seed=seed, image_id=str(seed)) for seed in range(1, 9)]
    is_random = name in ("noise", "stain")
    assert any((other != first).any() for other in others) == is_random


def test_noise_has_the_stated_deviation_and_is_scaled_by_severity():
    gray = np.full((200, 200, 3), 128, dtype=np.uint8)
    fields = [apply(gray, "noise", severity) - 128.0 for severity in (1, 2)]
    for field, amount in zip(fields, CORRUPTIONS["noise"].amounts, strict=False):
        assert field.std() == pytest.approx(amount, rel=0.02)
    assert np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1] > 0.99


def test_light_is_lost_by_the_stated_share():
    gray = np.full((4, 4, 3), 200, dtype=np.uint8)
    means = [int(apply(gray, "brightness", severity)[0, 0, 0]) for severity in range(1, 6)]
    assert means == [170, 140, 110, 80, 50]


def test_blur_is_that_of_scipy_with_a_share_of_the_side_as_deviation(cells):
    for severity, percent in enumerate(CORRUPTIONS["blur"].amounts, start=1):
        deviation = percent / 100 * SIDE
        expected = ndimage.gaussian_filter(
            cells[0].astype(float), (deviation, deviation, 0), mode="nearest", truncate=3
        )
        assert np.abs(apply(cells[0], "blur", severity) - expected).mean() < 1


def test_stain_changes_two_concentrations_of_skimages_hed_space():
    rows = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    theirs = rgb_from_hed / np.linalg.norm(rgb_from_hed, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, theirs)
    # scikit-image cuts negative concentrations, so an image is made of positive ones.
    hed = np.random.default_rng(0).uniform(0.005, 0.05, (40, 40, 3))
    image = np.rint(255 * hed2rgb(hed)).astype(np.uint8)
    changed = apply(image, "stain", 2).astype(float)
    differences = [
        np.abs(255 * hed2rgb(hed * [1 + 0.2 * first, 1 + 0.2 * second, 1]) - changed).mean()
        for first in (1, -1)
        for second in (1, -1)
    ]
    assert min(differences) < 0.6
    assert sorted(differences)[1] > 5


@pytest.mark.parametrize("radius", [0.2, 0.5, 1.0, 2.5, 7.3])
def test_disc_has_the_area_of_its_radius_and_sum_one(radius: float):
    kernel = make_disc(radius)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_array_equal(kernel, kernel.T)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    # Inside all weigh the same: one over the area.
    if radius >= 1:
        assert 1 / kernel.max() == pytest.approx(np.pi * radius**2, rel=0.02)


def test_jpeg_is_the_file_of_that_quality(cells):
    encoded = cv2.imencode(
        ".jpg", cells[0][:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 10]
    )[1]  # fmt: skip
    other = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1].astype(float)
    assert np.abs(apply(cells[0], "jpeg", 4) - other).mean() < 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray):
    with pytest.raises(ValueError, match=r"take uint8 images of shape \(H, W, 3\)"):
        apply(image, "blur", 1)


@pytest.mark.parametrize(("name", "severity"), [("fog", 1), ("blur", 6), ("blur", -1)])
def test_unknown_corruptions_are_refused(name: str, severity: int):
    with pytest.raises(ValueError, match="known: blur, noise"):
        apply(np.zeros((4, 4, 3), dtype=np.uint8), name, severity)


def test_table_of_the_module_states_the_amounts():
    for name, corruption in CORRUPTIONS.items():
        amounts = ", ".join(f"{amount:g}" for amount in corruption.amounts)
        assert f"| {name} |" in corruptions.__doc__
        assert f"| {amounts} |" in corruptions.__doc__


def test_white_stays_white_whatever_is_stained():
    white = np.array(Image.new("RGB", (5, 5), "white"))
    for severity in range(6):
        np.testing.assert_array_equal(apply(white, "stain", severity), white)
