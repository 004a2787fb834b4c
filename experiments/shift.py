"""How does a finished classifier fare on other cell sets, and on corrupted images of its own test?

    python experiments/shift.py RUN --test SOURCE=DIR... [--out DIR]
    python experiments/shift.py RUN --test segmentation_wbc=DIR bccd=DIR --labels labels.csv
    python experiments/shift.py RUN --test raabin/TestB=DIR prepared=DIR --corrupt none

SOURCE is a published set (list_sources.py), SOURCE/PART a part of it, prepared what prepare_wbc.py
wrote, all splits of it. Labels are brought together in the five common classes; images and classes
without a counterpart are counted. Images that the run has learnt from are refused, if they are the
same files; copies are for audit_data.py to find. The run's own test, found again by --data-root and
--cache-root, is predicted under six corruptions of five severities (datasets/corruptions.py).

Writes to OUT: shift.csv (a row a test and condition; scores over all of the run's classes, and
restricted to those that the test holds), classes.csv, shift.json, PNG figures, and the predictions
of each condition. Time: README, Shift.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import tyro

from datasets.corruptions import CORRUPTION_NAMES, CorruptionName
from datasets.counterparts import merge_classes
from datasets.other_tests import (
    OtherTest,
    pick_evenly,
)
from datasets.requested_tests import TestRequest, parse_request
from datasets.samples import Sample
from experiments.cli import run_script
from experiments.own_images import find_own_samples, require_same_predictions
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.shift_tables import (
    OWN,
    build_class_rows,
    build_shift_table,
    format_shift,
    name_run,
    select_clean,
)
from experiments.shift_images import open_unseen_test
from experiments.shift_pictures import draw_shift
from experiments.shift_predictions import CLEAN, list_grades, predict_grades
from experiments.shift_results import (
    clear_out,
    describe_tests,
    make_reference,
    make_results,
    read_own_result,
    require_no_results,
    write_shift,
)
from trainers.device import Device, precision_of
from trainers.prediction import NUM_WORKERS, PredictionPrecision, Predictor, launch_prediction
from trainers.restore import restore_classifier

NOTHING = "none"
WITHOUT_OWN = f", or --corrupt {NOTHING}"


@dataclass(frozen=True)
class Options:
    """Which run, which tests, and where the results go."""

    run: tyro.conf.Positional[Path]
    """Folder of a finished classifier run: the one with summary.json."""
    test: tuple[str, ...] = ()
    """Other cell sets: SOURCE=DIR, SOURCE/PART=DIR or prepared=DIR."""
    labels: Path | None = None
    """bccd: labels.csv of Kaggle's dataset-master. Default: looked for under its DIR."""
    margin: float | None = None
    """bccd: margin around a box, as a fraction of its longer side. Default: 0.1."""
    corrupt: str = OWN
    """Whose images are corrupted: own, none, or the name of a --test, e.g. segmentation_wbc."""
    kinds: tuple[CorruptionName, ...] = CORRUPTION_NAMES
    """Which corruptions."""
    out: Path | None = None
    """Folder of the results. Default: runs/shift/ and the run's name; runs/synthetic/shift/ if
    the run is."""
    data_root: Path | None = None
    """Where the run's own images lie. Default: as its config.json says, from this folder."""
    cache_root: Path | None = None
    """Where the splits lie that the run's script drew. Default: as its config.json says."""
    find_copies: bool = True
    """Find copies of one photograph in other sets by pixels, and count them as one group, where
    the set does not tell photographs itself."""
    max_images: int | None = None
    """Of each test at most so many images, classes in proportion: to try it out."""
    skip_unreadable: bool = False
    """Leave out and count images of other sets that do not decode."""
    seed: int = 0
    """Of the corruptions."""
    overwrite: bool = False
    """Replace earlier results in OUT."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    precision: PredictionPrecision = "run"
    """run: as the run was trained and tested."""
    batch_size: int = 32
    """Images at a time."""
    num_workers: int = NUM_WORKERS
    """Threads that decode and corrupt images beside the model."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: Naming the flag.
        """
        names = [request.name for request in self.requests]
        twice = {name for name in names if names.count(name) > 1 or name in (OWN, NOTHING)}
        if twice:
            raise ValueError(f"--test: {min(twice)} would name two tests; rename the folder.")
        if self.corrupt not in (OWN, NOTHING, *names):
            allowed = ", ".join((OWN, NOTHING, *names))
            raise ValueError(f"--corrupt {self.corrupt} is none of {allowed}.")
        if self.corrupt == NOTHING and not names:
            raise ValueError("Nothing to do: pass --test SOURCE=DIR, or leave out --corrupt none.")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"--kinds takes different ones of {', '.join(CORRUPTION_NAMES)}.")
        takers = [r for r in self.requests if r.source == "bccd"]
        for flag, value in (("--labels", self.labels), ("--margin", self.margin)):
            if value is not None and not takers:
                raise ValueError(f"{flag} is of use to --test bccd=DIR only. Leave it out.")
        for flag, number in (
            ("--max-images", self.max_images),
            ("--batch-size", self.batch_size),
            ("--num-workers", self.num_workers),
        ):
            if number is not None and number < 1:
                raise ValueError(f"{flag} must be at least 1, not {number}.")
        if self.seed < 0:
            raise ValueError(f"--seed must be 0 or more, not {self.seed}.")
        if self.out is not None and self.run.resolve() in (
            self.out.resolve(),
            *self.out.resolve().parents,
        ):
            raise ValueError(f"--out {self.out} lies in the run's own folder; pass another one.")

    @property
    def requests(self) -> list[TestRequest]:
        """The other sets.

        Raises:
            ValueError: One is not named as it should be.
        """
        return [parse_request(text) for text in self.test]


def main(options: Options) -> pd.DataFrame:
    """Test, print, write; return the table of ``shift.csv``."""
    restored = restore_classifier(options.run)
    run = FinishedRun(options.run, restored.config, restored.summary)
    run.require_classifier()
    out = options.out or find_out(run)
    require_no_results(out, overwrite=options.overwrite)
    # Before the long part: what may be refused.
    others = _open_others(options, run, out)
    own_samples = _find_own(options, run) if options.corrupt == OWN else []
    fabric = launch_prediction(restored.config, options.device, options.precision)
    predictor = Predictor(restored, fabric)
    predict = partial(
        predict_grades,
        predictor,
        seed=options.seed,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
    )
    results = [read_own_result(run)]
    facts: dict[str, Any] = {}
    if own_samples:
        probs = predict(own_samples, list_grades(options.kinds), title=OWN)
        facts["difference_to_run"] = require_same_predictions(
            run, own_samples, probs[CLEAN], way_out=WITHOUT_OWN
        )
        results += make_results(OWN, own_samples, run.classes, probs)
    for other in others:
        merged = merge_classes(run.classes)
        grades = list_grades(options.kinds if options.corrupt == other.name else ())
        probs = predict(other.samples, grades, title=other.name)
        merged_probs = {grade: merged.merge(found) for grade, found in probs.items()}
        found = make_results(other.name, other.samples, merged.classes, merged_probs)
        reference = make_reference(results[0], merged, found[0])
        results += [found[0], *([reference] if reference else []), *found[1:]]
    table = build_shift_table(results)
    by_class = build_class_rows(select_clean(results))
    facts |= {
        "seed": options.seed,
        "precision": precision_of(fabric),
        "device": fabric.device.type,
        **describe_tests(run, others),
    }
    samples_of = {OWN: own_samples, **{other.name: other.samples for other in others}}
    clear_out(out)
    draw_shift(out, run, results, table, samples_of.get(options.corrupt, ()), options.seed)
    write_shift(out, results, table, by_class, facts)
    left_out = {other.name: other.left_out for other in others}
    print(f"\n{format_shift(name_run(run), table, by_class, left_out, run.is_synthetic)}")
    print(f"\nWritten to {out}")
    return table


def _open_others(options: Options, run: FinishedRun, out: Path) -> list[OtherTest]:
    return [
        open_unseen_test(
            run,
            request,
            out / request.name,
            source_options={"labels": options.labels, "margin": options.margin},
            find_copies=options.find_copies,
            max_images=options.max_images,
            skip_unreadable=options.skip_unreadable,
        )
        for request in options.requests
    ]


def _find_own(options: Options, run: FinishedRun) -> list[Sample]:
    """Return the run's own test images, at most as many as asked for."""
    of_run = run.config.get("options", {})
    data_root = options.data_root or of_run.get("data_root")
    samples = find_own_samples(
        run,
        Path(data_root) if data_root else None,
        Path(options.cache_root or of_run.get("cache_root") or "cache"),
        way_out=WITHOUT_OWN,
    )
    return samples if options.max_images is None else pick_evenly(samples, options.max_images)


def find_out(run: FinishedRun) -> Path:
    """Return the default folder: outside all run folders, with a name of its own for each run."""
    name = "-".join(run.path.resolve().parts[-3:])
    return Path("runs", *(["synthetic"] if run.is_synthetic else []), "shift", name)


if __name__ == "__main__":
    run_script(main, Options, __doc__)
