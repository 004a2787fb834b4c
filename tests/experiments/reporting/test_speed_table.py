"""The table of speed: from JSON files alone, and the README's is that of the committed ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.readme_tables import BENCHMARKS, DOCUMENTS, SPEED, find_document
from experiments.reporting.speed_table import read_benchmarks, speed_to_markdown
from experiments.reporting.tables import replace_between_markers

ROOT = Path(__file__).resolve().parents[3]
MACHINE = {"gpu": None, "processor": "Abacus 3", "cores": 2, "torch": "2.9.0"}


def way(rate: float, fraction: float) -> dict:
    return {
        "images_per_second": rate,
        "peak_memory_mb": 2450.0,
        "fraction_of_ceiling": {"ceiling": "beads a second", "value": fraction, "roofline": 0.789},
    }


def test_a_comparison_is_a_row_and_the_rest_are_lines(tmp_path: Path):
    ways = {"plain": way(3.6, 0.4), "ours": way(36.0, 0.561)}
    contents = [
        {"benchmark": "fused", "ratio": 10.0, "ways": ways, "machine": MACHINE},
        {"benchmark": "start", "seconds": 1.234, "images": 10_000, "import_seconds": 3.04,
         "machine": MACHINE},
        {"benchmark": "ddp", "images_per_second": {"1": 10.0, "2": 19.0}, "efficiency": 0.95,
         "machine": MACHINE},
        {"benchmark": "growth", "settings": {"model": "small"}, "machine": MACHINE,
         "exponents": {"1": {"seconds": 1.01, "peak_memory_mb": 0.02}},
         "rows": [{"workers": 1, "images": n, "seconds": n / 100, "peak_memory_mb": 400.0}
                  for n in (1000, 8000)]},
    ]  # fmt: skip
    for content in contents:
        (tmp_path / f"{content['benchmark']}.json").write_text(json.dumps(content))
    text = speed_to_markdown(read_benchmarks(tmp_path))
    assert (
        "| fused | 3.6 images | 36.0 images | **10.0** | 0.40 | 0.56 | 0.79 | 2.5 GB "
        "| beads a second |"
    ) in text
    assert "- `start`: 1.23 s from the call of main to the first step over 10,000 images" in text
    assert "10.0 images a second by one process of one thread, 19.0 by two" in text
    assert "8,000 images 80.0 s and 400 MB; seconds grow as images^1.01" in text
    assert "- `growth, small`: 1 loading process: 1,000 images 10.0 s" in text
    assert text.endswith("Measured on: Abacus 3, 2 cores, PyTorch 2.9.0.")


def test_measurements_of_two_machines_and_of_growing_models_are_told_apart(tmp_path: Path):
    growth = {"benchmark": "growth", "exponents": {}, "rows": []}
    start = {"benchmark": "start", "seconds": 1.0, "images": 10, "import_seconds": 1.0}
    contents = [
        growth | {"settings": {"model": "small"}, "machine": MACHINE},
        growth | {"settings": {"model": "fused"}, "machine": MACHINE | {"processor": "Abacus 4"}},
        start | {"machine": MACHINE},
    ]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    text = speed_to_markdown(read_benchmarks(tmp_path))
    assert "Measured on Abacus 3, 2 cores, PyTorch 2.9.0: growth, small; start." in text
    assert "Measured on Abacus 4, 2 cores, PyTorch 2.9.0: growth, fused." in text
    (tmp_path / "9.json").write_text(json.dumps(contents[1]))
    with pytest.raises(ValueError, match=r"9\.json is a second measurement of growth, fused"):
        read_benchmarks(tmp_path)


def test_another_file_is_refused(tmp_path: Path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json is not what benchmark\.py --out writes"):
        read_benchmarks(tmp_path)
    for name in ("x", "y"):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"benchmark": "start", "machine": MACHINE})
        )
    with pytest.raises(ValueError, match=r"y\.json is a second measurement of start"):
        read_benchmarks(tmp_path)


def test_readme_holds_the_committed_measurements():
    readme = find_document([ROOT / path for path in DOCUMENTS], SPEED).read_text()
    benchmarks = read_benchmarks(ROOT / "results" / BENCHMARKS)
    assert bool(benchmarks) == (f"<!-- results:{SPEED} -->" in readme)
    if benchmarks:
        assert replace_between_markers(readme, SPEED, speed_to_markdown(benchmarks)) == readme
