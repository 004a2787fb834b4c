"""The eight views of a square image."""

from __future__ import annotations

import pytest
import torch

from datasets.views import NUM_VIEWS, take_view


def test_the_eight_views_differ_and_the_first_is_the_image():
    image = torch.arange(9).reshape(1, 3, 3)
    views = [take_view(image, view) for view in range(NUM_VIEWS)]
    assert torch.equal(views[0], image)
    assert len({tuple(view.flatten().tolist()) for view in views}) == NUM_VIEWS


@pytest.mark.parametrize("view", range(NUM_VIEWS))
def test_a_view_of_a_view_is_one_of_the_eight(view: int):
    image = torch.arange(9).reshape(1, 3, 3)
    known = [take_view(image, other) for other in range(NUM_VIEWS)]
    for other in range(NUM_VIEWS):
        twice = take_view(take_view(image, view), other)
        assert any(torch.equal(twice, one) for one in known)


def test_a_view_turns_counter_clockwise_and_mirrors_left_to_right():
    image = torch.tensor([[[1, 2], [3, 4]]])
    assert take_view(image, 1).tolist() == [[[2, 4], [1, 3]]]
    assert take_view(image, 4).tolist() == [[[2, 1], [4, 3]]]


def test_view_0_is_the_image_itself_and_no_copy():
    image = torch.rand(3, 4, 4)
    assert take_view(image, 0) is image
