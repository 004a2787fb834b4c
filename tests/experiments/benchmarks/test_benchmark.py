"""The sub-commands on very little, in this process."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from experiments import benchmark
from experiments.benchmarks import ceilings, comparing, distributed, growth, starting, tiling
from experiments.benchmarks.measuring import Measurement
from experiments.benchmarks.options import Autoencoder, Base, Data, Extract, Predict
from trainers.classifier import ClassifierTrainer


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, _untimed: None) -> None:
    """Measure in this process, and the machine in no time."""

    def measure_here(ways, rounds):
        opened = {name: way() for name, way in ways.items()}
        return {
            name: Measurement(tuple(run_round() for _ in range(rounds)), 1.0)
            for name, run_round in opened.items()
        }

    for module in (comparing, tiling, growth):
        monkeypatch.setattr(module, "measure_in_turn", measure_here)
    monkeypatch.setattr(comparing, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(ceilings, "MATRIX_SIDE", 64)
    monkeypatch.setattr(ceilings, "COPIED_BYTES", 1000)
    monkeypatch.setattr(ceilings, "MIN_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        (Base, {"forward", "backward", "optimizer"}),
        pytest.param(Autoencoder, {"decode", "forward", "backward"}, marks=pytest.mark.slow),
        pytest.param(Extract, {"decode", "forward"}, marks=pytest.mark.slow),
        pytest.param(Predict, {"forward"}, marks=pytest.mark.slow),
        pytest.param(Data, {"read"}, marks=pytest.mark.slow),
    ],
)
def test_both_ways_are_measured_with_their_stages(
    kind: type, stages: set[str], drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out = tmp_path / "found.json"
    options = kind(
        images=2, batch_size=2, rounds=1, side=64, device="cpu", cache_root=drawn, out=out,
        work_dir=tmp_path,
    )  # fmt: skip
    found = benchmark.main(benchmark.Options(options))
    assert json.loads(out.read_text())["ratio"] == found["ratio"] > 0
    for way in found["ways"].values():
        taken = way["seconds_by_stage"]
        assert stages <= {name for name, seconds in taken.items() if seconds > 0}
        assert sum(taken.values()) == pytest.approx(way["seconds"], rel=1e-3)
        assert way["images_per_second"] == pytest.approx(2 / way["seconds"])
    printed = capsys.readouterr().out
    assert f"{found['ratio']:.2f} by wall time" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert {path.name for path in tmp_path.iterdir()} == {"found.json"}


def test_tiles_are_counted_and_set_against_the_bare_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tiling, "TEXTURE", 256)
    options = tiling.Tile(num_slides=2, tile_size=128, slide_size=512, rounds=1, work_dir=tmp_path)
    found = tiling.compare_tiling(options)
    # 4 x 4 tiles of tissue a slide.
    assert found.count == 32
    assert found.fractions["bare loop"].value == 1
    assert set(found.measured) == {"bare loop", "plain", "ours", "2 processes"}
    assert f"ceiling, {', '.join(found.measured)}: bare loop of read_region" in found.format()
    content = json.loads(json.dumps(found.describe(), allow_nan=False, default=str))
    assert content["ways"]["plain"]["cpu_seconds"] > 0
    assert content["ways"]["ours"]["cpu_seconds"] is content["cpu_ratio"] is None, "not known"
    assert not list(tmp_path.iterdir())


def test_growth_fits_an_exponent_for_each_number_of_workers(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    options = growth.Growth(
        counts=(20, 60), workers=(0,), side=64, batch_size=10, device="cpu", cache_root=drawn,
        work_dir=tmp_path,
    )  # fmt: skip
    found = benchmark.main(benchmark.Options(options))
    seconds = [row["seconds"] for row in found["rows"]]
    expected = growth.fit_exponent([20, 60], seconds)
    assert found["exponents"][0]["seconds"] == pytest.approx(expected)
    assert f"seconds grow as images^{expected:.2f}" in capsys.readouterr().out


def test_start_ends_at_the_first_step(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ClassifierTrainer, "compute_loss", ClassifierTrainer.compute_loss)
    options = starting.Start(rounds=1, device="cpu", cache_root=drawn)
    run_round = starting.open_start(comparing.make_job(options, 20, 0, tmp_path, pack=False))
    assert run_round().seconds > 0
    assert not list(tmp_path.rglob("summary.json"))
    assert not list(tmp_path.rglob("metrics.csv"))


@pytest.mark.slow
def test_two_processes_are_set_against_one(drawn: Path, tmp_path: Path):
    options = distributed.Ddp(
        images=20, rounds=1, device="cpu", side=64, cache_root=drawn, work_dir=tmp_path
    )
    found = distributed.measure_ddp(options)
    rates = found["images_per_second"]
    assert found["efficiency"] == pytest.approx(rates["2"] / rates["1"] / 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Base(rounds=0), "--rounds must be 1 or more, not 0"),
        (lambda: Base(images=0), "--images must be 1"),
        (lambda: Base(num_workers=-1), "--num-workers must be 0"),
        (lambda: Base(threads=0), "--threads must be 1"),
        (lambda: growth.Growth(counts=(5,)), "--counts takes two or more"),
        (lambda: growth.Growth(workers=(-1,)), "--workers takes numbers from 0"),
        (lambda: tiling.Tile(num_slides=0), "--num-slides must be 1"),
    ],
)
def test_numbers_that_measure_nothing_are_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
