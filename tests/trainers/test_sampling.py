"""The order of samples."""

from __future__ import annotations

from collections import Counter

import pytest

from trainers.sampling import EpochBatches, seeded_generator


def flat(batches: EpochBatches) -> list[int]:
    return [index for batch in batches for index in batch]


def test_every_sample_comes_once_an_epoch_in_an_order_of_its_own():
    batches = EpochBatches(10, 3, shuffle=True, seed=1)
    first = flat(batches)
    batches.set_position(1, 0)
    assert sorted(first) == sorted(flat(batches)) == list(range(10))
    assert first != flat(batches)
    assert [len(batch) for batch in batches] == [3, 3, 4], "a single image joins the others"
    assert len(batches) == 3


def test_position_inside_an_epoch_continues_the_same_order():
    batches = EpochBatches(10, 3, shuffle=True, seed=1)
    batches.set_position(5, 0)
    whole = list(batches)
    batches.set_position(5, 2)
    assert list(batches) == whole[2:]


@pytest.mark.parametrize("number", [8, 9])
def test_processes_share_the_epoch_and_take_equally_many_steps(number: int):
    parts = [
        EpochBatches(number, 2, shuffle=True, seed=0, rank=rank, world_size=2) for rank in range(2)
    ]
    assert len(parts[0]) == len(parts[1]) == len(list(parts[0])) == len(list(parts[1]))
    counts = Counter(flat(parts[0]) + flat(parts[1]))
    assert set(counts) == set(range(number))
    assert counts.total() == number + number % 2


@pytest.mark.parametrize("shuffle", [False, True])
def test_many_processes_share_few_samples(shuffle: bool):
    parts = [
        list(EpochBatches(5, 2, shuffle=shuffle, seed=0, rank=rank, world_size=12))
        for rank in range(12)
    ]
    assert all(len(part) == 1 and len(part[0]) == 1 for part in parts), parts
    assert {part[0][0] for part in parts} == set(range(5))


def test_balanced_sampling_draws_classes_equally_often():
    labels = [0] * 900 + [1] * 100
    drawn = Counter(
        labels[i] for i in flat(EpochBatches(1000, 50, shuffle=True, labels=labels, balanced=True))
    )
    assert drawn[1] == pytest.approx(500, abs=70)


def test_images_per_class_shows_every_image_of_a_class_equally_often():
    labels = [0] * 7 + [1] * 3 + [2]
    batches = EpochBatches(11, 4, shuffle=True, labels=labels, images_per_class=6)
    counts = Counter(flat(batches))
    assert len(batches) == 5
    assert [sum(n for i, n in counts.items() if labels[i] == c) for c in range(3)] == [6, 6, 6]
    assert [counts[i] for i in (7, 8, 9)] == [2, 2, 2]
    assert counts[10] == 6
    assert max(counts[i] for i in range(7)) == 1


def test_images_per_class_draws_anew_each_epoch_and_resumes_in_the_middle():
    labels = [0] * 20 + [1] * 5
    batches = EpochBatches(25, 4, shuffle=True, labels=labels, images_per_class=10)
    first = list(batches)
    batches.set_position(0, 2)
    assert list(batches) == first[2:]
    batches.set_position(1, 0)
    assert list(batches) != first


def test_images_per_class_leave_evaluation_alone():
    batches = EpochBatches(5, 2, shuffle=False, labels=[0, 0, 0, 0, 1], images_per_class=9)
    assert flat(batches) == [0, 1, 2, 3, 4]
    assert len(batches) == 3


def test_views_are_drawn_anew_each_epoch_and_go_with_their_sample_to_one_process():
    batches = EpochBatches(40, 3, shuffle=True, seed=1, num_views=8)
    epochs = []
    for epoch in range(20):
        batches.set_position(epoch, 0)
        epochs.append(dict(item for batch in batches for item in batch))
    assert all(sorted(views) == list(range(40)) for views in epochs)
    for index in range(40):
        assert len({views[index] for views in epochs}) > 3, "a sample's views hardly change"
    counts = Counter(view for views in epochs for view in views.values())
    assert set(counts) == set(range(8))
    assert min(counts.values()) > 60
    parts = [
        EpochBatches(40, 3, shuffle=True, seed=1, num_views=8, rank=rank, world_size=2)
        for rank in range(2)
    ]
    shared = dict(item for part in parts for batch in part for item in batch)
    assert shared == epochs[0]


def test_views_are_the_same_after_a_resume_and_absent_from_evaluation():
    batches = EpochBatches(10, 3, shuffle=True, seed=1, num_views=8)
    batches.set_position(5, 0)
    whole = list(batches)
    batches.set_position(5, 2)
    assert list(batches) == whole[2:]
    assert flat(EpochBatches(4, 3, shuffle=False, num_views=8)) == [0, 1, 2, 3]


def test_generators_of_different_parts_differ():
    seeds = {
        seeded_generator(*parts).initial_seed() for parts in [(0,), (1,), (0, 0), (0, 1), (1, 0)]
    }
    assert len(seeds) == 5
