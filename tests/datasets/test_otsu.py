"""Otsu's threshold against its definition and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from datasets.otsu import find_otsu_threshold


@pytest.mark.parametrize("seed", range(4))
def test_threshold_is_that_of_an_independent_otsu(seed: int):
    rng = np.random.default_rng(seed)
    low, high = rng.normal(20, 8, 3000), rng.normal(rng.uniform(60, 160), 15, 1000)
    values = np.clip(np.concatenate([low, high]), 0, 255).astype(np.uint8)
    assert find_otsu_threshold(values) == threshold_otsu(values)


def test_threshold_of_nothing_is_zero():
    assert find_otsu_threshold(np.array([], dtype=np.uint8)) == 0


def test_otsu_parts_two_levels_between_them():
    channel = np.array([10] * 30 + [200] * 70, np.uint8)
    assert 10 <= find_otsu_threshold(channel) < 200


def test_otsu_maximises_the_variance_between_the_parts():
    rng = np.random.default_rng(0)
    channel = np.concatenate([rng.normal(70, 12, 500), rng.normal(180, 25, 1500)])
    channel = channel.clip(0, 255).astype(np.uint8)

    def between(threshold: int) -> float:
        dark, light = channel[channel <= threshold], channel[channel > threshold]
        if not dark.size or not light.size:
            return 0.0
        return dark.size * light.size * (dark.mean() - light.mean()) ** 2

    assert between(find_otsu_threshold(channel)) == pytest.approx(max(map(between, range(256))))
