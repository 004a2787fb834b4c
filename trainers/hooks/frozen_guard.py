"""Proves that frozen encoders did not move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.frozen import frozen_encoders, hash_state
from trainers.errors import RunError
from trainers.hooks.base import Hook

if TYPE_CHECKING:
    from trainers.trainer import Trainer


class FrozenGuardHook(Hook):
    """Hashes parameters and buffers of every frozen encoder before and after a fit.

    The hashes are part of the checkpoint, so the promise holds over resumes too. An encoder that
    was trained before an interruption cannot be frozen after it, nor the other way round.

    Raises:
        RunError: At the end, or when a resumed run starts, if a hash differs.
    """

    def __init__(self) -> None:
        self.hashes: dict[str, str] | None = None

    def before_fit(self, trainer: Trainer) -> None:
        """Hash, or compare with what was hashed before the interruption."""
        earlier, self.hashes = self.hashes, self._hash(trainer)
        if earlier is not None:
            self._require_equal(earlier, self.hashes, "since the run was interrupted")

    def after_fit(self, trainer: Trainer) -> None:
        """Compare, if the fit has begun."""
        if self.hashes is not None:
            self._require_equal(self.hashes, self._hash(trainer), "during the fit")

    def state_dict(self) -> dict[str, Any]:
        """Return the hashes."""
        return {"hashes": self.hashes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the hashes."""
        self.hashes = dict(state["hashes"])

    def _hash(self, trainer: Trainer) -> dict[str, str]:
        model = trainer.model.module
        return {path: hash_state(encoder) for path, encoder in frozen_encoders(model).items()}

    def _require_equal(self, before: dict[str, str], now: dict[str, str], when: str) -> None:
        moved = [path for path in {**before, **now} if before.get(path) != now.get(path)]
        if moved:
            raise RunError(
                f"Frozen encoder(s) {', '.join(moved)} changed {when}. Their features are no "
                "longer those that were stored; this run must not be reported."
            )
