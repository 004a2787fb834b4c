"""What the authors of the source systems report of them, each figure with its source.

None of it was measured here. Tables show it beside the project's own results; data, splits and
selection differ, so the two columns are no comparison of methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

System = Literal["A", "B", "C1", "C2", "D", "E"]

_REPORT: Final = "the source system's own report"
_ONE_RUN: Final = f"{_REPORT}, one run each"
_MATEK: Final = "Matek et al. 2019, Nature Machine Intelligence 1, 538-544"
_BENCHMARK: Final = "wbc-benchmark, 2023"


@dataclass(frozen=True)
class SourceSystem:
    """One of the systems that the project brings together.

    Attributes:
        key: Its letter.
        title: What tables call it.
        data: Set on which it was reported.
        data_names: What runs call that set when it is the published one.
        num_images: Images of the set; of those that were pooled where it has parts.
    """

    key: System
    title: str
    data: str
    data_names: tuple[str, ...]
    num_images: int


@dataclass(frozen=True)
class ReportedScore:
    """A figure as its authors report it.

    Attributes:
        system: Letter of the system.
        experiments: Scripts that redo it.
        settings: Options, variant or protocol of the run that it belongs to; it fits a run whose
            config has these values.
        metric: E.g. accuracy, loss, auroc.
        value: As reported.
        source: Who reports it.
        split: On which it was measured.
        note: What a reader must know to read it; may be empty.
        spread: Standard deviation where one is reported.
        unless: Settings of runs that it does not fit.
    """

    system: System
    experiments: tuple[str, ...]
    settings: Mapping[str, Any]
    metric: str
    value: float
    source: str
    split: Literal["train", "validation", "test"] = "test"
    note: str = ""
    spread: float | None = None
    unless: Mapping[str, Any] = field(default_factory=dict)

    def format(self) -> str:
        """Return the figure with what is needed to read it, ``0.960 (leaky re-split)``."""
        spread = "" if self.spread is None else f" ± {self.spread:.3f}"
        remarks = [
            *([self.split] if self.split != "test" else []),
            *([self.note] if self.note else []),
        ]
        return f"{self.value:.3f}{spread}" + (f" ({', '.join(remarks)})" if remarks else "")


SYSTEMS: Final[Mapping[str, SourceSystem]] = {
    "base_wbc": SourceSystem(
        "A", "A cell CNN", "Raabin-WBC crops", ("course bundle cells",), 10_175
    ),
    "fused_wbc": SourceSystem(
        "A", "A fused classifier", "Raabin-WBC crops", ("course bundle cells",), 10_175
    ),
    "raabin_resnet": SourceSystem("B", "B ResNet", "Raabin-WBC", ("Raabin-WBC",), 16_633),
    "aml_resnext": SourceSystem(
        "C1", "C1 ResNeXt", "AML-Cytomorphology", ("AML-Cytomorphology",), 18_365
    ),
    "pbc_transfer": SourceSystem(
        "C2", "C2 transfer", "PBC", ("PBC", "PBC_dataset_normal_DIB"), 17_092
    ),
    "bccd_xception": SourceSystem(
        "D", "D Xception", "Kaggle blood cells", ("Kaggle blood cells",), 12_444
    ),
    "small_cnn": SourceSystem(
        "E", "E small CNN", "Kaggle blood cells", ("Kaggle blood cells",), 12_444
    ),
}
"""The system that each script redoes."""

SIBLINGS: Final = ("raabin_resnet", "aml_resnext", "pbc_transfer", "bccd_xception", "small_cnn")

_LADDER: Final[Mapping[str, tuple[float | None, float]]] = {
    "baseline": (None, 0.5644),
    "overfit": (0.9785, 0.9142),
    "dropout-0.2": (0.9471, 0.8937),
    "dropout-0.4": (0.8832, 0.8897),
    "reduced": (0.9774, 0.9346),
    "l2-activity": (0.9833, 0.9037),
    "l1-l2": (0.9624, 0.9187),
    "final": (0.9584, 0.9396),
}
"""Accuracy on training and validation images of each variant of the small CNN."""

_CELLS: Final = (
    (1, "base_wbc", 0.6406, 0.7413),
    (10, "base_wbc", 0.38016, 0.87025),
    (50, "base_wbc", 0.25016, 0.9314),
    (100, "base_wbc", 0.24113, 0.9256),
    (1, "fused_wbc", 0.8494, 0.78016),
    (10, "fused_wbc", 0.41802, 0.90578),
    (50, "fused_wbc", 0.2717, 0.9495),
    (100, "fused_wbc", 0.2145, 0.9479),
)
"""Label percent, script, test loss and test accuracy."""


def _report_cells() -> list[ReportedScore]:
    return [
        ReportedScore("A", (script,), {"split": percent}, metric, value, _ONE_RUN)
        for percent, script, loss, accuracy in _CELLS
        for metric, value in (("loss", loss), ("accuracy", accuracy))
    ]


def _report_ladder() -> list[ReportedScore]:
    script = ("small_cnn",)
    scores = []
    for variant, (train, val) in _LADDER.items():
        settings = {"variant": variant}
        if train is not None:
            scores.append(ReportedScore("E", script, settings, "accuracy", train, _REPORT, "train"))
        scores.append(ReportedScore("E", script, settings, "accuracy", val, _REPORT, "validation"))
    return scores


_SCORES_B: Final = (("accuracy", 0.981), ("macro_precision", 0.964), ("macro_recall", 0.958),
                    ("macro_f1", 0.960))  # fmt: skip
_TEST_B: Final = {"protocol": "testa-testb", "depth": 50}
_F1_E: Final = (("neutrophil", 0.73), ("eosinophil", 0.80), ("monocyte", 0.86), ("lymphocyte", 1.0))

REPORTED: Final[tuple[ReportedScore, ...]] = (
    *_report_cells(),
    ReportedScore("A", ("prcc_autoencoder",), {}, "loss", 9.3208e-4, _ONE_RUN,
                  note="SSIM with the wrong data range"),
    ReportedScore("A", ("camelyon16_resnet18",), {}, "loss", 0.33018, _ONE_RUN),
    ReportedScore("A", ("camelyon16_resnet18",), {}, "accuracy", 0.875, _ONE_RUN),
    *(
        ReportedScore("B", ("raabin_resnet",), {"depth": 18}, metric, value, _REPORT,
                      unless={"protocol": "testa-testb"})
        for metric, value in _SCORES_B
    ),
    ReportedScore("B", ("raabin_resnet",), {**_TEST_B, "norm": "batch"}, "accuracy", 0.346,
                  _BENCHMARK, note="TestB", spread=0.107),
    ReportedScore("B", ("raabin_resnet",), {**_TEST_B, "norm": "group"}, "accuracy", 0.780,
                  _BENCHMARK, note="TestB", spread=0.054),
    ReportedScore("C1", ("aml_resnext",), {}, "auroc_blast", 0.991, _MATEK, spread=0.002),
    ReportedScore("C1", ("aml_resnext",), {}, "auroc_atypical", 0.992, _MATEK, spread=0.001),
    ReportedScore("D", ("bccd_xception",), {"round": "untrained"}, "accuracy", 0.26, _REPORT,
                  note="leaky re-split"),
    ReportedScore("D", ("bccd_xception",), {"round": "stage-1"}, "accuracy", 0.82, _REPORT,
                  note="leaky re-split"),
    ReportedScore("D", ("bccd_xception",), {"round": None}, "accuracy", 0.96, _REPORT,
                  note="leaky re-split"),
    *_report_ladder(),
    ReportedScore("E", ("small_cnn",), {"variant": "final"}, "accuracy", 0.84, _REPORT),
    *(
        ReportedScore("E", ("small_cnn",), {"variant": "final"}, f"f1_{name}", value, _REPORT)
        for name, value in _F1_E
    ),
)  # fmt: skip


def find_reported(experiment: str, settings: Mapping[str, Any]) -> list[ReportedScore]:
    """Return what is reported of a run's test, or of its validation where no test is reported.

    Args:
        experiment: Name of the run's script.
        settings: Its options, variant, protocol, and ``round``: the name of a further test, e.g.
            stage-1, or None for the main one.
    """
    found = [
        score
        for score in REPORTED
        if experiment in score.experiments
        and all(settings.get(name) == value for name, value in score.settings.items())
        and not any(settings.get(name) == value for name, value in score.unless.items())
    ]
    of_test = [score for score in found if score.split == "test"]
    return of_test or [score for score in found if score.split == "validation"]


def format_reported(scores: Sequence[ReportedScore]) -> str:
    """Return the accuracies among `scores`, or all of them by name where none is reported."""
    accuracies = [score.format() for score in scores if score.metric == "accuracy"]
    others = [f"{score.metric.replace('_', ' ')} {score.format()}" for score in scores]
    return ", ".join(accuracies or others) or "-"
