"""Which finished runs a script looks at, and which of their tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class RunSelection:
    """Finished runs and one of their tests."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders that hold finished runs."""
    test: str | None = None
    """A further test that all runs have, e.g. stage-1. Default: the main one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: No folder was given.
        """
        if not self.runs:
            raise ValueError("No run given. Give the folder of a finished run, or of several.")
