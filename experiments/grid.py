"""The grid of a study: a cell for each variant, label percent, draw and seed; running one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from datasets.errors import DatasetError
from datasets.manifest import MANIFEST_NAME
from datasets.taxonomy import LabelPercent
from experiments.cells import read_cells, train_cells
from experiments.probes import train_probe, train_strong_probe
from experiments.reporting.load_runs import FinishedRun
from experiments.studies import AnyVariant, ProbeVariant, StrongVariant, Variant
from experiments.study_encoders import EncoderOptions, find_encoder
from trainers.run import SUMMARY

EXPERIMENT: Final = "ablations"
_BASE_RATE: Final = 60.0
"""Training images a second on two cores without encoders; README, Experiments."""
_FUSED_RATE: Final = 38.0
"""The same with stored features of frozen encoders."""
_UNFROZEN_RATE: Final = 12.0
"""The same with encoders that are trained: a third of the last."""
_EVALUATION: Final = 3.0
"""Times as fast is evaluation."""
_PROBE_SECONDS: Final = 20.0


@dataclass(frozen=True)
class GridCell:
    """One run of a study.

    Attributes:
        variant: What is trained.
        label_percent: Share of the labels.
        draw: Number of the draw of splits.
        data_root: Of that draw; None: the synthetic set.
        seed: Of weights, order and random encoders.
    """

    variant: AnyVariant
    label_percent: LabelPercent
    draw: int
    data_root: Path | None
    seed: int

    @property
    def folder(self) -> Path:
        """The run folder below the runs root; it is shared by all studies with this variant."""
        return Path(
            EXPERIMENT,
            self.variant.name,
            f"split-{self.label_percent}",
            f"draw-{self.draw}",
            f"seed-{self.seed}",
        )

    def is_finished(self, runs_root: Path) -> bool:
        """Return whether the run is there."""
        return (runs_root / self.folder / SUMMARY).is_file()


def plan_grid(
    variants: Sequence[AnyVariant],
    percents: Sequence[LabelPercent],
    draws: Sequence[Path | None],
    seeds: Sequence[int],
) -> list[GridCell]:
    """Return the cells, few labels first, so that what is quick is known early.

    A probe has no seed of its own: without random encoders it is run once a draw.
    """
    cells = []
    for percent in percents:
        for draw, root in enumerate(draws):
            for variant in variants:
                is_fixed = not isinstance(variant, Variant) and not any(
                    name.startswith("random") for name in variant.encoders
                )
                for seed in seeds[:1] if is_fixed else seeds:
                    cells.append(GridCell(variant, percent, draw, root, seed))
    return cells


def find_draws(data_root: Path | None, number: int) -> list[Path | None]:
    """Return the folder of each draw.

    Args:
        data_root: What prepare_wbc.py wrote: with several draws, their folders lie in it.
        number: Of draws.

    Raises:
        DatasetError: There are fewer, or no such folder.
    """
    if data_root is not None and not data_root.is_dir():
        raise DatasetError(f"--data-root: there is no folder {data_root}.")
    if data_root is None or not (data_root / "draw-0" / MANIFEST_NAME).is_file():
        if number > 1:
            raise DatasetError(
                f"--draws {number}: {data_root or 'the synthetic set'} holds one draw. Prepare "
                f"more with prepare_wbc.py --draw {' '.join(map(str, range(number)))}."
            )
        return [data_root]
    folders = [data_root / f"draw-{draw}" for draw in range(number)]
    missing = [folder for folder in folders if not (folder / MANIFEST_NAME).is_file()]
    if missing:
        raise DatasetError(f"--draws {number}: there is no {missing[0] / MANIFEST_NAME}.")
    return list(folders)


def run_cell(cell: GridCell, options: EncoderOptions) -> FinishedRun:
    """Run one cell, or go on with it, or find it finished."""
    options = replace(
        options,
        data_root=cell.data_root,
        seed=cell.seed,
        runs_root=options.find_runs_root(),
        resume=not options.overwrite,
    )
    variant = cell.variant
    cells = read_cells(options, cell.label_percent, masks=False)
    encoders = [find_encoder(name, options, cells, cell.draw) for name in variant.encoders]
    facts = {"variant": variant.name, "draw": cell.draw}
    if isinstance(variant, ProbeVariant):
        return train_probe(
            options,
            cell.label_percent,
            cell.folder,
            encoders,
            is_balanced=variant.is_balanced,
            facts=facts,
        )
    if isinstance(variant, StrongVariant):
        config = replace(variant.config, seed=cell.seed)
        return train_strong_probe(options, cell.label_percent, cell.folder, encoders, config, facts)
    return train_cells(
        options, cell.label_percent, cell.folder, variant.recipe, encoders, facts=facts
    )


def estimate_seconds(cell: GridCell, num_train: int, num_val: int, num_test: int) -> float:
    """Return a rough time of a cell on two cores, without extraction of features."""
    if not isinstance(cell.variant, Variant):
        return _PROBE_SECONDS
    rate = _BASE_RATE
    if cell.variant.encoders:
        is_frozen = cell.variant.recipe.encoder_rate is None
        rate = _FUSED_RATE if is_frozen else _UNFROZEN_RATE
    epochs = cell.variant.recipe.epochs
    return (epochs * (num_train + num_val / _EVALUATION) + num_test / _EVALUATION) / rate
