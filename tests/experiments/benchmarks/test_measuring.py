"""Clock, processes, ceilings, tables."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest
import torch

from experiments.benchmarks import ceilings, clock
from experiments.benchmarks.clock import StageClock
from experiments.benchmarks.growth import fit_exponent
from experiments.benchmarks.measuring import Measurement, Round, measure_in_turn
from experiments.benchmarks.results import Comparison, Fraction
from trainers.errors import RunError


def test_time_is_charged_to_the_innermost_stage(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    stages = StageClock(torch.device("cpu"))
    stages.start("copy")
    wait(1)
    with stages.stage("decode"):
        wait(2)
        with stages.stage("read"):
            wait(4)
        wait(8)
    stages.switch("optimizer")
    wait(16)
    found = stages.read()
    assert found.seconds == 31
    charged = {name: seconds for name, seconds in found.stages.items() if seconds}
    assert charged == {"copy": 1, "decode": 10, "read": 4, "optimizer": 16}


def test_ways_are_measured_in_turn_in_processes_of_their_own():
    # A way is opened once and its rounds are called: two calls, the second one a round.
    ways = {
        "a": partial(partial, Round, 1.0, 2.0, {"read": 1.0}),
        "b": partial(partial, Round, 3.0, 4.0, {"read": 3.0}),
    }
    found = measure_in_turn(ways, 2)
    assert [way.seconds for way in found.values()] == [1.0, 3.0]
    assert [way.cpu_seconds for way in found.values()] == [2.0, 4.0]
    assert [len(way.rounds) for way in found.values()] == [2, 2]
    assert all(5 < way.peak_memory_mb < 1000 for way in found.values())


def test_what_a_way_raises_is_raised_here_and_a_dead_process_is_told():
    with pytest.raises(ValueError, match="invalid literal"):
        measure_in_turn({"broken": partial(int, "x")}, 1)
    with pytest.raises(RunError, match="plain way ended with exit code 3.*fewer --images"):
        measure_in_turn({"plain": partial(os._exit, 3)}, 1)
    with pytest.raises(TypeError):
        measure_in_turn({"not a round": partial(partial, time.sleep, "x")}, 1)


def test_operations_of_decoder_and_heads_are_those_that_one_counts_by_hand():
    decoder = 2 * 4 * (128 * 64 * 64**2 + 64 * 32 * 128**2 + 32 * 3 * 256**2)
    last_layer = 2 * 5 * 2
    plain, ours = (ceilings.count_cost("extract", way).operations for way in ("plain", "ours"))
    assert plain - ours == decoder + last_layer
    trained = ceilings.count_cost("fused", "ours").operations
    assert ceilings.count_cost("fused", "plain").operations - trained == plain


def test_traffic_is_what_layers_without_products_read_and_write():
    """Of a sum, a ReLU and a max-pooling, whose indices are of eight bytes; convolutions: none."""
    images = torch.empty(1, 3, 8, 8, device="meta")
    for bytes_a_value in (2, 4):
        with ceilings._TrafficCounter(bytes_a_value) as counter:
            maps = torch.nn.functional.conv2d(images, torch.empty(4, 3, 1, 1, device="meta"))
            before = counter.total
            (maps + maps).relu()
            torch.nn.functional.max_pool2d(maps, 2)
        assert before == bytes_a_value * 12, "the weights are laid out"
        assert counter.total - before == bytes_a_value * (256 * 6 + 64) + 64 * 8
    plain, ours = (ceilings.count_cost("base", way).traffic for way in ("plain", "ours"))
    assert plain > ours, "plainly, ReLU sees the whole map"
    half, whole = (ceilings.count_cost("base", "ours", bytes_a_value=n).traffic for n in (2, 4))
    assert half < whole < 2 * half


def test_exponent_of_a_power_law_is_found():
    counts = [1000, 2000, 4000]
    assert fit_exponent(counts, [3 * n**1.5 for n in counts]) == pytest.approx(1.5)


def make_comparison() -> Comparison:
    stages = {"read": 1.0, "decode": 0.0}
    return Comparison(
        "fused",
        "images",
        100,
        {
            "plain": Measurement(tuple(Round(s, 30.0, stages) for s in (9, 10, 50)), 2000),
            "ours": Measurement(tuple(Round(s, 6.0, stages) for s in (1, 2, 2.5)), 1000),
        },
        {"plain": Fraction("product", 0.3), "ours": Fraction("product in bf16", 0.5)},
        {"product": 1e11},
        {"seed": 0},
    )


def test_ratio_is_that_of_the_medians_and_the_table_fits_80_columns():
    found = make_comparison()
    assert (found.ratio, found.cpu_ratio) == (5.0, 5.0)
    text = found.format()
    assert "ratio: 5.00 by wall time" in text
    assert "decode" not in text
    assert max(map(len, text.splitlines())) <= 80
    ways = found.describe()["ways"]
    assert ways["ours"]["images_per_second"] == 50
    assert ways["plain"]["fraction_of_ceiling"] == {
        "ceiling": "product", "value": 0.3, "roofline": None,
    }  # fmt: skip
