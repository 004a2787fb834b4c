"""Is anything lost or torn when runs are killed at any moment?

    python tests/faults/soak.py [--kills 100] [--seed 0] [--only tiling fused]     # make soak

Starts small real runs (autoencoder, classifier, fused with extraction of features, tiling, ablation
grid), sends SIGKILL at random moments and starts them again, until --kills have hit. After each
kill every file that bears its own name must be whole. After each end the results must be those of
the uninterrupted run, bit by bit, with nothing left behind and nothing finished done twice (epochs
that were done, stored features, slides, runs of the grid). Stops at the first that is not so.

The same --seed draws the same moments, as shares of the processor time of the whole run. Linux.
Time: printed at the end.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # Before torch: it is forked.

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import torch
import tyro
from killing import end_group, run_and_kill, run_to_end
from outcomes import (
    Progress,
    content_of,
    left_behind,
    progress_of,
    require_not_repeated,
    require_saved,
)
from scenarios import SCENARIOS, Inputs, TellingHook

from trainers import hooks

_EMPTY = Progress({}, 0, {})


@dataclass(frozen=True)
class Options:
    """How often is killed, and where."""

    kills: int = 100
    """SIGKILLs in all, shared out evenly."""
    seed: int = 0
    """Of the moments."""
    only: tuple[str, ...] = ()
    """Only these of autoencoder, classifier, fused, tiling, grid. Default: all."""
    folder: Path | None = None
    """Work here and keep it. Default: a temporary folder, kept where something is wrong."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: Naming the flag.
        """
        unknown = [name for name in self.only if name not in SCENARIOS]
        if unknown:
            raise ValueError(f"--only {' '.join(unknown)}: there are {', '.join(SCENARIOS)}.")
        if self.kills < 1:
            raise ValueError(f"--kills must be 1 or more, not {self.kills}.")


def main(options: Options) -> Counter[str]:
    """Kill and compare; print the figures and return them."""
    torch.set_num_threads(1)
    hooks.ProgressHook = TellingHook  # type: ignore[misc]
    started = time.monotonic()
    root = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    root.mkdir(parents=True, exist_ok=True)
    print(f"--seed {options.seed} --kills {options.kills}, in {root}", flush=True)
    inputs = Inputs(root / "inputs")
    made = root / "inputs.made"
    if not made.exists():
        shutil.rmtree(inputs.folder, ignore_errors=True)
        _require_end(run_to_end(inputs.make, root / "inputs.log").code, root / "inputs.log")
        made.touch()
    names = options.only or tuple(SCENARIOS)
    totals: Counter[str] = Counter()
    for index, name in enumerate(names):
        quota = options.kills * (index + 1) // len(names) - options.kills * index // len(names)
        totals += _kill(name, inputs, root / name, quota, random.Random(f"{options.seed} {name}"))
    minutes = (time.monotonic() - started) / 60
    print(
        f"\n{totals['kills']} kills in {totals['attempts']} starts; {totals['ends']} ends, all "
        "with the results of the uninterrupted run.\n"
        f"{totals['files']:,} files read after kills, all whole; nothing finished was repeated, "
        f"nothing left behind.\n{minutes:.1f} minutes, {totals['cpu_seconds'] / 60:.1f} of "
        "processor time."
    )
    for kind in sorted(kind for kind in totals if kind.startswith("killed ")):
        print(f"  {totals[kind]:4} {kind}")
    if options.folder is None:
        shutil.rmtree(root)
    return totals


def _kill(name: str, inputs: Inputs, folder: Path, quota: int, rng: random.Random) -> Counter[str]:
    """Kill one scenario `quota` times."""
    shutil.rmtree(folder, ignore_errors=True)
    reference, log = folder / "reference", folder / "log"
    reference.mkdir(parents=True)
    work = partial(SCENARIOS[name], inputs)
    ending = run_to_end(partial(work, reference), log)
    _require_end(ending.code, log)
    expected, whole_seconds = content_of(reference), ending.cpu_seconds
    print(f"{name}: {whole_seconds:.1f} s of processor time, {len(expected)} files", flush=True)
    count: Counter[str] = Counter()
    while count["kills"] < quota:
        trial = folder / f"trial-{count['ends']}"
        trial.mkdir()
        before, orphans = _EMPTY, None
        while True:
            count["attempts"] += 1
            is_last = count["kills"] >= quota
            after = float("inf") if is_last else rng.uniform(0, whole_seconds)
            whole_group = rng.random() < 0.5
            ending = run_and_kill(partial(work, trial), log, after, whole_group=whole_group)
            count["cpu_seconds"] += round(ending.cpu_seconds)
            if orphans is not None:
                end_group(orphans)
            try:
                require_not_repeated(before, log.read_text())
                if ending.code == -9:
                    require_saved(trial, log.read_text())
                    before, orphans = progress_of(trial), ending.pid
                    count["kills"] += 1
                    count["files"] += len(content_of(trial))
                    count[f"killed {name}, {'the group' if whole_group else 'one process'}"] += 1
                    print(f"  kill {count['kills']} at {after:.2f} s: {before}", flush=True)
                    continue
                _require_end(ending.code, log)
                _require_same(content_of(trial), expected)
                assert not left_behind(trial), left_behind(trial)
            except Exception:
                print(f"FAILED {name}, kill {count['kills']}; see {trial} and {log}", flush=True)
                raise
            break
        count["ends"] += 1
        print(f"  end {count['ends']}: as the uninterrupted run", flush=True)
        shutil.rmtree(trial)
    return count


def _require_end(code: int, log: Path) -> None:
    if code != 0:
        raise RuntimeError(f"A run ended with exit code {code}:\n{log.read_text()[-4000:]}")


def _require_same(found: dict[str, object], expected: dict[str, object]) -> None:
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, f"{different} differ from the uninterrupted run"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
