"""The benchmark of tiling, on slides small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import benchmark_tiling


def test_rates_are_measured_on_the_same_tiles_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(benchmark_tiling, "_SIDE", 512)
    monkeypatch.setattr(benchmark_tiling, "_TEXTURE", 256)
    options = benchmark_tiling.Options(num_slides=2, tile_size=128, rounds=1, work_dir=tmp_path)
    rates = benchmark_tiling.main(options)
    assert min(rates.values()) > 0
    printed = capsys.readouterr().out
    # 4 x 4 tiles of tissue a slide; the lines are a table of rate and ratio.
    assert printed.startswith("32 tiles of 128 px")
    assert f"{rates['one'] / rates['bare']:.2f} of the bare loop" in printed
    assert f"two processes against one: {rates['two'] / rates['one']:.2f}" in printed
    assert not list(tmp_path.iterdir())


def test_numbers_that_measure_nothing_are_refused():
    with pytest.raises(ValueError, match="--rounds must be 1"):
        benchmark_tiling.Options(rounds=0)
