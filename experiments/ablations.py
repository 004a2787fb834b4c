"""What brings what? Studies of named variants, over label shares, draws and seeds.

    python experiments/ablations.py --study fusion --data-root DIR --seeds 5 [--draws 2] --dry-run
    python experiments/ablations.py --study fusion --data-root DIR --seeds 5 --splits 1 10

Each cell of the grid is a run below runs/ablations, shared by all studies that have the variant. A
finished one is not run again, an unfinished one is resumed, a failed one is shown and may be run
again by the same command; --overwrite runs all cells of the study again. Several draws are those of
prepare_wbc.py --draw 0 1 2. --executor local and slurm run cells side by side (README, Grids on
several machines). When they are done, tensorboard --logdir runs/ablations shows all finished cells
as a table, in its tab HPARAMS.

The study unfreeze trains the encoders too, from the same weights, at the rate of the rest and at a
hundredth of it. No stored features serve it: each image is read in three sizes in each epoch (from
packs, if prepare_wbc.py wrote them with --pack --image-size 256 512 224), and a batch of 16 takes
about 1.5 GB more in bf16 than with frozen encoders. Where that is too much, pass a smaller
--batch-size and another --runs-root, so that fused is run with it too.

Time: see --dry-run.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.taxonomy import LABEL_PERCENTS, LabelPercent
from experiments.cells import read_cells
from experiments.cli import run_script
from experiments.executors import ExecutorOptions, Job, JobResult, run_jobs
from experiments.grid import (
    EXPERIMENT,
    GridCell,
    estimate_seconds,
    find_draws,
    plan_grid,
    require_same_settings,
    run_cell,
)
from experiments.studies import STUDIES, StudyName
from experiments.study_encoders import EncoderOptions, list_missing
from trainers.hparams import write_hparams
from trainers.run import remove_run, tidy_up


@dataclass(frozen=True)
class Options(ExecutorOptions, EncoderOptions):
    """Which study, how often each variant is run, and where."""

    study: StudyName = "fusion"
    """Name of the study."""
    variants: tuple[str, ...] = ()
    """Only these of its variants. Default: all."""
    splits: tuple[LabelPercent, ...] = (1, 10)
    """Shares of the training labels, in percent."""
    seeds: int = 1
    """Runs of each variant with seeds from --seed on."""
    draws: int = 1
    """Draws of the splits, from 0 on."""
    dry_run: bool = False
    """Print the plan, with an estimate of the time, and stop."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: Naming the flag.
        """
        ExecutorOptions.__post_init__(self)
        EncoderOptions.__post_init__(self)
        for flag, number in (("--seeds", self.seeds), ("--draws", self.draws)):
            if number < 1:
                raise ValueError(f"{flag} must be 1 or more, not {number}.")
        names = [variant.name for variant in STUDIES[self.study]]
        unknown = [name for name in self.variants if name not in names]
        if unknown:
            raise ValueError(
                f"--variants {' '.join(unknown)}: the study {self.study} has {', '.join(names)}."
            )
        if not self.splits:
            raise ValueError(f"--splits takes some of {', '.join(map(str, LABEL_PERCENTS))}.")

    def find_log_dir(self) -> Path:
        """Return where what jobs print goes: beside the runs."""
        return self.log_dir or self.find_runs_root() / "jobs"


def main(options: Options) -> list[JobResult]:
    """Run what is not finished; return what became of each cell.

    Raises:
        SystemExit: With code 1, after all others are done, where a cell failed.
    """
    cells = plan_grid(
        [v for v in STUDIES[options.study] if not options.variants or v.name in options.variants],
        options.splits,
        find_draws(options.data_root, options.draws),
        range(options.seed, options.seed + options.seeds),
    )
    runs_root = options.find_runs_root()
    waiting = [c for c in cells if options.overwrite or not c.is_finished(runs_root)]
    require_same_settings([cell for cell in cells if cell not in waiting], options)
    print(format_plan(options, cells, waiting))
    if options.dry_run:
        names = {name for cell in waiting for name in cell.variant.encoders}
        missing = list_missing(sorted(names), options, sorted({cell.draw for cell in waiting}))
        if missing:
            print("Not there yet, and trained or downloaded first where that can be done:")
            print("\n".join(f"  {line}" for line in missing))
        return []
    if options.overwrite:  # Here, once: a job that is started a second time goes on.
        for cell in cells:
            remove_run(runs_root / cell.folder)
    # Without the options of the study, which are of no use to a single run.
    common = EncoderOptions(**{f.name: getattr(options, f.name) for f in fields(EncoderOptions)})
    jobs = [
        Job(str(cell.folder), runs_root / cell.folder, partial(run_cell, cell, common))
        for cell in cells
    ]
    results = run_jobs(jobs, options)
    # Also of runs that are older than these files, or were killed before writing them.
    for result in results:
        if result.status != "failed":
            tidy_up(result.run_dir)
            write_hparams(result.run_dir)
    print("Look at the finished runs of all studies in a table (HPARAMS) with:")
    print(f"  tensorboard --logdir {shlex.quote(str(runs_root / EXPERIMENT))}")
    failed = [result for result in results if result.status == "failed"]
    if failed:
        # Their reasons were told when they failed.
        print(f"{len(failed)} of {len(cells)} runs failed; the same command runs them again:")
        print("\n".join(f"  {r.name}: see {r.log_path}" for r in failed))
        sys.exit(1)
    return results


def format_plan(options: Options, cells: list[GridCell], waiting: list[GridCell]) -> str:
    """Return what is to be run, and about how long it takes, as text of 80 columns."""
    lines = [f"{'variant':28}{'labels':>8}{'runs':>6}{'finished':>10}{'minutes left':>14}"]
    total = 0.0
    keys = dict.fromkeys((cell.variant.name, cell.label_percent) for cell in cells)
    sizes = {percent: _count(options, percent) for percent in options.splits}
    for name, percent in keys:
        own = [c for c in cells if (c.variant.name, c.label_percent) == (name, percent)]
        left = [cell for cell in own if cell in waiting]
        seconds = sum(estimate_seconds(cell, *sizes[percent]) for cell in left)
        total += seconds
        finished = len(own) - len(left)
        lines.append(f"{name:28}{percent:>6} %{len(own):6}{finished:10}{seconds / 60:14.1f}")
    time = f"{total / 3600:.1f} hours" if total >= 3600 else f"{total / 60:.1f} minutes"
    lines.append(f"{len(waiting)} runs left, about {time} on two cores")
    return "\n".join(lines)


def _count(options: Options, percent: LabelPercent) -> tuple[int, int, int]:
    """Return the number of training, validation and test images."""
    root = find_draws(options.data_root, options.draws)[0]
    cells = read_cells(replace(options, data_root=root), percent, masks=True)
    return (
        len(cells.of_split("train", percent)),
        len(cells.of_split("val")),
        len(cells.of_split("test")),
    )


if __name__ == "__main__":
    run_script(main, Options, __doc__)
