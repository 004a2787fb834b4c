"""The shares of train, val and test that --val-fraction and --test-fraction ask for."""

from __future__ import annotations

from datasets.taxonomy import Split


def split_fractions(val: float, test: float) -> dict[Split, float]:
    """Return the share of each split, in (0, 1); they add up to 1.

    Raises:
        ValueError: A share is not above 0, or nothing is left for training; names the flags.
    """
    if min(val, test) <= 0 or val + test >= 1:
        raise ValueError(
            "--val-fraction and --test-fraction must be above 0 and leave something for "
            f"training, not {val} and {test}."
        )
    return {"train": 1 - val - test, "val": val, "test": test}
