"""The base of all hooks: what observes and persists a fit, and leaves its arithmetic alone."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trainers.trainer import Trainer

EVENTS: Final = (
    "before_fit",
    "before_epoch",
    "after_backward",
    "after_step",
    "after_validation",
    "after_epoch",
    "on_exception",
    "after_fit",
)
_EVENT_PREFIXES: Final = ("before_", "after_", "on_")


class Hook:
    """Overrides the events it wants; each is given the trainer.

    Order of events: before_fit; for each epoch before_epoch, for each step after_backward (before
    clipping) and after_step, then after_validation and after_epoch; on_exception if one is raised;
    after_fit always. Hooks are called in the order of their list.

    Raises:
        TypeError: A subclass defines a method that looks like an event and is none.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            near = difflib.get_close_matches(name, EVENTS, n=1, cutoff=0.8)
            if name not in EVENTS and (near or name.startswith(_EVENT_PREFIXES)):
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise TypeError(
                    f"{cls.__name__}.{name} is no event; events are {', '.join(EVENTS)}.{hint}"
                )

    def before_fit(self, trainer: Trainer) -> None:
        """Run once, after a resumed state has been loaded."""

    def before_epoch(self, trainer: Trainer) -> None:
        """Run before the first step of an epoch, or of what is left of it after a resume."""

    def after_backward(self, trainer: Trainer) -> None:
        """Run when gradients are there, before they are clipped."""

    def after_step(self, trainer: Trainer) -> None:
        """Run after the update."""

    def after_validation(self, trainer: Trainer) -> None:
        """Run when `trainer.metrics` holds the epoch's training and validation metrics."""

    def after_epoch(self, trainer: Trainer) -> None:
        """Run when `trainer.epoch` counts the epoch as done."""

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Run when the fit ends by `error`, which is raised again afterwards."""

    def after_fit(self, trainer: Trainer) -> None:
        """Run at the end, also after an exception of the fit or of another hook's ``after_fit``."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs: numbers, strings, lists, dicts, tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
