"""What is known of the data and of the machines: data card, leakage audit, environments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from datasets.safe_json import read_json_object
from experiments.reporting.html.entries import TestSet
from experiments.reporting.html.text_tables import TextTable
from experiments.reporting.load_runs import FinishedRun
from experiments.reporting.prediction_tables import show

LEAK: Final = "LEAK"
"""With which the value of a fact begins that speaks against the scores."""

_AUDIT_FILE: Final = "audit.json"
_NOT_RECORDED: Final = "not recorded"
_SHORT_HASH: Final = 12
_MAX_LEAKS: Final = 10


@dataclass(frozen=True)
class DataCard:
    """What the runs of a test set recorded of their data.

    Attributes:
        facts: Name and value.
        splits: Images by split and class.
    """

    facts: tuple[tuple[str, str], ...]
    splits: TextTable

    @property
    def warnings(self) -> tuple[str, ...]:
        """What stands in the way of believing the scores."""
        return tuple(f"{name}: {text}" for name, text in self.facts if text.startswith(LEAK))


@dataclass(frozen=True)
class AuditCard:
    """The verdict of a leakage audit.

    Attributes:
        title: Which images it looked at.
        is_clean: Whether it found no leak.
        verdict: In a sentence.
        leaks: The first of them, a line each.
        table: Images and groups by split and class.
    """

    title: str
    is_clean: bool
    verdict: str
    leaks: tuple[str, ...]
    table: TextTable


def build_data_card(test_set: TestSet) -> DataCard:
    """Return the data card of the runs of a test set."""
    runs = [run for entry in test_set.entries for run in entry.runs]
    records = [run.summary["data"] for run in runs]
    facts = [
        ("name", _join(str(data["name"]) for data in records)),
        ("kind", "SYNTHETIC" if test_set.is_synthetic else "real images"),
        ("fingerprint", _join(str(data.get("fingerprint", ""))[:_SHORT_HASH] for data in records)),
        ("classes", _join(test_set.classes)),
        ("skipped as unreadable", _join(str(len(data.get("skipped", []))) for data in records)),
        ("left out", _join(_describe_left_out(data.get("left_out", {})) for data in records)),
        ("copies in training", _describe_copies(runs)),
        ("groups in test and validation", _describe_overlap(test_set)),
    ]
    rows: list[tuple[str, ...]] = []
    for entry in test_set.entries:
        if entry.test is None:
            rows += _list_splits(entry.first, test_set.classes, entry.label_percent)
    held = Counter(test_set.entries[0].frames[0]["label"])
    counts = [held[name] for name in test_set.classes]
    rows.append(_split_row("test", counts, "0", str(test_set.num_groups)))
    columns = ("split", "groups", "masked", "images", *map(show, test_set.classes))
    return DataCard(tuple(facts), TextTable(columns, tuple(dict.fromkeys(rows)), 1))


def read_audit(path: Path) -> AuditCard:
    """Return the verdict in an ``audit.json``, or in the folder of one.

    Raises:
        ValueError: It cannot be read, or is no audit.
    """
    file = path / _AUDIT_FILE if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise ValueError(f"--audit {path} holds no {_AUDIT_FILE}; audit_data.py --out writes it.")
    try:
        content = read_json_object(file)
        leaks, scenes = content["leaks"], content["scene_leaks"]
        title = _join(PurePath(str(source)).name for source in content["sources"])
        table = TextTable(
            ("split", "class", "images", "groups", "largest group"),
            tuple(
                (show(str(r["split"])), show(str(r["label"])), *_counts(r))
                for r in content["independent"]
            ),
            2,
        )
        counts = [int(content[f"num_{kind}"]) for kind in ("images", "photographs", "scenes")]
        verdict = _describe_leaks(leaks, scenes, str(content["level"]))
        if not leaks and not any(row["split"] for row in content["independent"]):
            verdict = _describe_unsplit(content["independent"])
        lines = tuple(_describe_leak(leak) for leak in leaks[:_MAX_LEAKS])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no leakage audit ({type(error).__name__}: {error}). Pass --audit the "
            "audit.json that experiments/audit_data.py --out writes, or its folder."
        ) from error
    extent = "{:,} images of {:,} photographs in {:,} scenes. ".format(*counts)
    return AuditCard(title, not leaks and not scenes, extent + verdict, lines, table)


def build_environments(test_sets: Sequence[TestSet]) -> TextTable:
    """Return a row each environment in which runs were made, with the numbers of their rows."""
    numbers: dict[tuple[str, ...], list[int]] = {}
    for test_set in test_sets:
        for entry in test_set.entries:
            for run in entry.runs:
                found = numbers.setdefault(_describe_environment(run), [])
                if entry.number not in found:
                    found.append(entry.number)
    columns = ("rows", "git commit", "device", "precision", "Python", "packages", "platform")
    rows = [(_list_numbers(found), *texts) for texts, found in numbers.items()]
    return TextTable(columns, tuple(rows), len(columns))


def _describe_environment(run: FinishedRun) -> tuple[str, ...]:
    path = run.path / "environment.json"
    content = read_json_object(path) if path.is_file() else {}
    commit = content.get("git_commit") or run.summary.get("git_commit") or _NOT_RECORDED
    is_dirty = content.get("git_dirty", run.summary.get("git_dirty"))
    packages = content.get("packages")
    versions = packages.items() if isinstance(packages, Mapping) else ()
    processes = content.get("processes")
    device = str(content.get("device", _NOT_RECORDED))
    return tuple(
        show(text)
        for text in (
            f"{str(commit)[:_SHORT_HASH]}{', with changes' if is_dirty else ''}",
            f"{device}, {processes} processes" if processes not in (None, 1) else device,
            str(run.config.get("precision", _NOT_RECORDED)),
            str(content.get("python", _NOT_RECORDED)),
            ", ".join(f"{name} {version}" for name, version in versions) or _NOT_RECORDED,
            str(content.get("platform", _NOT_RECORDED)),
        )
    )


def _list_splits(
    run: FinishedRun, classes: Sequence[str], percent: int
) -> Iterable[tuple[str, ...]]:
    for split in ("train", "val"):
        content = run.summary["splits"].get(split)
        if isinstance(content, Mapping) and isinstance(content.get("images"), Mapping):
            counts = [int(content["images"].get(name, 0)) for name in classes]
            name = f"{split}, {percent} % of the labels" if split == "train" else split
            masked, groups = (str(content.get(key, "-")) for key in ("masked", "groups"))
            yield _split_row(name, counts, masked, groups)


def _split_row(name: str, counts: Sequence[int], masked: str, groups: str) -> tuple[str, ...]:
    return name, show(groups), show(masked), f"{sum(counts):,}", *(f"{n:,}" for n in counts)


def _describe_left_out(left_out: Mapping[str, Any]) -> str:
    return "; ".join(f"{number} {reason}" for reason, number in left_out.items()) or "nothing"


def _describe_overlap(test_set: TestSet) -> str:
    """Return whether groups of test images are among those on which models were selected."""
    checked = _check_groups(test_set)
    if not checked:
        return "not checked: the runs have no val_predictions.csv"
    if any(checked):
        return f"LEAK: a group stands in both, in {sum(checked)} of {len(checked)} runs"
    return f"no group in both, in all {len(checked)} runs that kept both"


def _describe_copies(runs: Sequence[FinishedRun]) -> str:
    """Return how many test images have a copy in training, where the runs recorded it."""
    shares = [share for run in runs if (share := _share_of_copies(run)) is not None]
    if not shares:
        return _NOT_RECORDED
    return f"LEAK: {max(shares):.1%} of the test images" if max(shares) > 0 else "none"


def _check_groups(test_set: TestSet) -> list[bool]:
    """Return, for each run that kept both, whether a group is in validation and in test."""
    return [
        bool(set(run.val_predictions()["group"]) & set(frame["group"]))
        for entry in test_set.entries
        for run, frame in zip(entry.runs, entry.frames, strict=True)
        if (run.path / "val_predictions.csv").is_file()
    ]


def _share_of_copies(run: FinishedRun) -> float | None:
    recorded = run.summary.get("siblings_in_training")
    share = recorded.get("test") if isinstance(recorded, Mapping) else None
    return float(share) if isinstance(share, int | float) else None


def _describe_leaks(leaks: Sequence[Any], scenes: Sequence[Any], level: str) -> str:
    if leaks:
        kinds = Counter(str(leak["kind"]) for leak in leaks)
        found = ", ".join(f"{number:,} by {show(kind)}" for kind, number in sorted(kinds.items()))
        return f"LEAKS: {found} (groups by {show(level)})."
    clean = f"No leak: no group (by {show(level)}) is in two splits or on both sides of a subset."
    if scenes:
        return f"{clean} But {len(scenes):,} scenes stand on both sides: cells photographed again."
    return clean


def _describe_unsplit(independent: Sequence[Mapping[str, Any]]) -> str:
    """Return what is to be said of a bare folder, whose images are in no split yet."""
    copies = any(int(row["largest_group"]) > 1 for row in independent)
    advice = "Some groups hold copies: give prepare_wbc.py --groups groups.csv." if copies else ""
    return f"No splits given, so nothing can leak between them. {advice}".strip()


def _describe_leak(leak: Mapping[str, Any]) -> str:
    sides = ", ".join(f"{number} in {side}" for side, number in leak["sides"].items())
    return show(f"{leak['kind']}: {leak['group']}: {sides}")


def _counts(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{int(row[name]):,}" for name in ("num_images", "num_groups", "largest_group"))


def _join(texts: Iterable[str]) -> str:
    return show(", ".join(dict.fromkeys(text for text in texts if text))) or _NOT_RECORDED


def _list_numbers(numbers: Sequence[int]) -> str:
    """Return rising numbers with runs of them drawn together, ``1-3, 5``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
