"""The grid of a study: a cell for each variant, label percent, draw and seed; running one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from trainers.errors import RunError
from trainers.run import CONFIG, SUMMARY, read_json

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
_SETTINGS: Final = (
    "epochs", "batch_size", "accumulate", "lr", "clip", "clip_limit", "precision",
    "max_train_images",
)  # fmt: skip
"""Options that change what a cell's run learns."""


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


def require_same_settings(cells: Sequence[GridCell], options: EncoderOptions) -> None:
    """Raise where a finished cell was run with other settings or data than are asked for now.

    Raises:
        RunError: Naming them.
    """
    asked = json.loads(json.dumps(asdict(options), default=str))
    fingerprints: dict[tuple[Path | None, LabelPercent, bool], str] = {}
    for cell in cells:
        run_dir = options.find_runs_root() / cell.folder
        earlier = read_json(run_dir / CONFIG)
        told, data = earlier.get("options"), earlier.get("data")
        differences = [
            f"--{name.replace('_', '-')} {told.get(name)} there, {asked[name]} now"
            for name in _SETTINGS
            if isinstance(told, dict) and told.get(name) != asked[name]
        ]
        has_masks = isinstance(cell.variant, Variant) and cell.variant.recipe.masks
        key = (cell.data_root, cell.label_percent, has_masks)
        if key not in fingerprints:
            own = replace(options, data_root=cell.data_root)
            fingerprints[key] = read_cells(own, cell.label_percent, masks=has_masks).fingerprint
        if isinstance(data, dict) and data.get("fingerprint") != fingerprints[key]:
            differences.append(f"other images or splits than those of {cell.data_root}")
        if differences:
            listed = "\n  ".join(differences)
            raise RunError(
                f"{run_dir} is finished, but was run otherwise:\n  {listed}\nPass the earlier "
                "settings, --overwrite to run the cells of this study again, or another "
                "--runs-root."
            )


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
        resume=True,
        overwrite=False,
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
