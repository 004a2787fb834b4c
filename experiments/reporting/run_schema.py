"""What the files of a finished classifier's run folder must hold, whoever wrote them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MAX_COUNT: Final = 10**12
"""Of images, epochs, seeds and parameters; larger ones are typing errors or worse."""
MAX_NUMBER: Final = 1e15
"""Of any number, whose absolute value it bounds: beyond it whole numbers need not fit a float."""

_TEST_NAME: Final = re.compile(r"\w[\w.+=-]*")
"""Names of further tests are part of file names."""

_REQUIRED: Final = ("experiment", "seed", "splits", "epochs", "seconds")


def find_problem(summary: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the entries that tables and figures read; None if nothing is."""
    missing = [name for name in _REQUIRED if name not in summary]
    data, test = summary.get("data"), summary.get("test")
    if not isinstance(data, Mapping) or not {"name", "synthetic"} <= set(data):
        missing.append("data.name, data.synthetic")
    if not isinstance(test, Mapping) or not isinstance(test.get("per_class"), Mapping):
        missing.append("test.per_class")
    if missing:
        return f"it lacks {', '.join(missing)}"
    for name, value, is_right, expected in _list_entries(summary, config):
        if not is_right(value):
            return f"{name} is {repr(value)[:60]}, no {expected}"
    return _find_huge({"summary.json": summary, "options of config.json": config.get("options")})


def _find_huge(content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first number that is too large, however deep it stands."""
    waiting = list(content.items())
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}: {key}"[:200], inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(name, inner) for inner in value]
        elif isinstance(value, int | float) and MAX_NUMBER < abs(value) < math.inf:
            return f"{name} is {repr(value)[:60]}, allowed is at most {MAX_NUMBER:g}"
    return None


def _list_entries(
    summary: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Callable[[Any], bool], str]]:
    """Yield name, value, test and expectation of each entry; what a later one needs comes first."""
    data, others = summary["data"], summary.get("other_tests", {})
    yield "experiment", summary["experiment"], _is_text, "text"
    yield "seed", summary["seed"], _is_count, "whole number"
    yield "epochs", summary["epochs"], _is_count, "whole number"
    yield "seconds", summary["seconds"], _is_number, "number"
    yield "label_percent", summary.get("label_percent"), _or_none(_is_count), "whole number"
    yield "best_epoch", summary.get("best_epoch"), _or_none(_is_count), "whole number"
    yield "protocol", summary.get("protocol"), _or_none(_is_text), "text"
    yield "data.name", data["name"], _is_text, "text"
    yield "data.left_out", data.get("left_out", {}), _is_mapping, "mapping"
    yield "data.skipped", data.get("skipped", []), _is_list, "list"
    yield "splits", summary["splits"], _is_mapping, "mapping"
    for split, content in summary["splits"].items():
        yield f"splits.{split}", content, _is_mapping, "mapping"
        yield f"splits.{split}.images", content.get("images"), _is_counts, "numbers by class"
        for key in ("masked", "groups"):
            yield f"splits.{split}.{key}", content.get(key), _or_none(_is_count), "whole number"
    yield "parameters", summary.get("parameters", {}), _is_counts, "numbers by name"
    yield "other_tests", others, _is_mapping, "mapping"
    for name in others:
        yield f"other_tests.{name[:60]}", name, _is_test_name, "name that a file may have"
    for name, test in [("test", summary["test"]), *others.items()]:
        yield name, test, _is_mapping, "mapping"
        yield from _list_scores(name, test)
    yield "options", config.get("options", {}), _is_mapping, "mapping"
    yield "experiment in config.json", config.get("experiment"), _or_none(_is_text), "text"


def _list_scores(
    name: str, test: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Callable[[Any], bool], str]]:
    for key, value in test.items():
        if key in ("per_class", "loss_by_class"):
            yield f"{name}.{key}", value, _is_mapping, "mapping"
        elif key == "restricted":
            yield f"{name}.{key}", value, _is_mapping, "mapping"
            yield f"{name}.{key}.classes", value.get("classes"), _is_texts, "list of texts"
            for score in ("accuracy", "balanced_accuracy", "macro_f1"):
                yield f"{name}.{key}.{score}", value.get(score), _is_number, "number"
        elif key == "confusion_matrix":
            yield f"{name}.{key}", value, _is_list, "list"
        elif isinstance(value, bool | str | list | dict):
            yield f"{name}.{key}", value, _or_none(_is_number), "number"


def _or_none(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_test_name(value: Any) -> bool:
    return isinstance(value, str) and _TEST_NAME.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    # NaN compares false. A whole number of hundreds of digits is compared but cannot be a float.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= MAX_NUMBER


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _is_counts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_count(number) for number in value.values())
