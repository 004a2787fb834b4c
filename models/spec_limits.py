"""What the fields of a described model may hold, before anything is built with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from models.errors import ModelError

MAX_SIDE: Final = 4096
"""Of images in pixels; the project's are of 60 to 560."""
MAX_CHANNELS: Final = 4096
MAX_ENCODERS: Final = 16
MAX_NODES: Final = 64
MAX_CLASSES: Final = 10_000
NUM_VIEWS: Final = (1, 8)
"""An image as it is, or all its quarter turns, plain and mirrored."""
_MAX_NAME: Final = 200

_Check = tuple[Callable[[Any], bool], str]


def require_fields(what: str, fields: Mapping[str, Any], checks: Mapping[str, _Check]) -> None:
    """Raise if a field of a description is of another kind or size than any model has.

    Args:
        what: Is described.
        fields: Of the description; names that have no check are passed over.
        checks: By the name of the field: the test, and what is allowed in words.

    Raises:
        ModelError: Naming the field, its value and what is allowed.
    """
    for name, (is_right, allowed) in checks.items():
        if name in fields and not is_right(fields[name]):
            raise ModelError(
                f"{name} of {what} is {repr(fields[name])[:60]}; allowed is {allowed}. The run's "
                "config.json was not written by this project, or was changed: pass another run."
            )


def _whole(least: int, most: int) -> _Check:
    return lambda value: _is_whole(value, least, most), f"a whole number from {least} to {most}"


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_NAME


def _list_of(is_right: Callable[[Any], bool], most: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list | tuple) and len(value) <= most and all(map(is_right, value))
    )


def _is_image_size(value: Any) -> bool:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    return value is None or (is_pair and all(_is_whole(side, 1, MAX_SIDE) for side in value))


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


_NAME: Final[_Check] = (_is_name, f"a text of at most {_MAX_NAME} characters")
_CLAIM: Final[_Check] = (lambda value: isinstance(value, bool), "true or false")

NUM_CLASSES: Final = {"num_classes": _whole(1, MAX_CLASSES)}
MODEL_FIELDS: Final[Mapping[str, _Check]] = {
    "backbone": _NAME,
    "head": _NAME,
    "dropout": (_is_probability, "a number from 0 to below 1"),
    "norm": _NAME,
    "input_size": (_is_image_size, f"null, or height and width from 1 to {MAX_SIDE} pixels"),
    "grayscale": _CLAIM,
    "variant": _NAME,
    "combine": _NAME,
    "cnn_channels": _whole(1, MAX_CHANNELS),
    "encoders": (
        _list_of(lambda entry: isinstance(entry, Mapping), MAX_ENCODERS),
        f"a list of at most {MAX_ENCODERS} encoders",
    ),
    "num_views": (
        lambda value: any(_is_whole(value, number, number) for number in NUM_VIEWS),
        " or ".join(map(str, NUM_VIEWS)),
    ),
}
ENCODER_FIELDS: Final[Mapping[str, _Check]] = {
    "kind": _NAME,
    "backbone": _NAME,
    "nodes": (_list_of(_is_name, MAX_NODES), f"a list of at most {MAX_NODES} names of layers"),
    "input_size": _whole(0, MAX_SIDE),
    "statistics": (_list_of(_is_name, MAX_NODES), "a list of names"),
    "pool": _whole(1, MAX_SIDE),
    "is_frozen": _CLAIM,
}
