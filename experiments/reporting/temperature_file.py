"""The file in which calibrate.py leaves a run's temperature for predict.py."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from datasets.safe_json import read_json_object

TEMPERATURE: Final = "temperature.json"
MAX_TEMPERATURE: Final = 1e15
"""Beyond it, or its inverse, divided logits are all alike or no longer finite."""


def read_temperature(run_dir: Path) -> float:
    """Return what a run's logits are to be divided by.

    Raises:
        ValueError: The run has not been calibrated, or the file is broken.
    """
    path = run_dir / TEMPERATURE
    if not path.is_file():
        raise ValueError(f"There is no {path}. Run experiments/calibrate.py {run_dir} first.")
    value = read_json_object(path).get("temperature")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path} holds no temperature. Run experiments/calibrate.py again.")
    if not 1 / MAX_TEMPERATURE <= value <= MAX_TEMPERATURE:
        raise ValueError(
            f"{path}: a temperature is a number above 0 and at most {MAX_TEMPERATURE:g}, not "
            f"{repr(value)[:60]}. Run experiments/calibrate.py again."
        )
    return float(value)
