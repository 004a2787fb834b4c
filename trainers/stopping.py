"""Stopping a fit between two steps, so that no state is torn."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import Any, Self

import torch
from lightning_fabric import Fabric

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger(__name__)


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM inside its ``with`` block into a request.

    A second one raises KeyboardInterrupt at once. Outside the main thread signals are left alone.

    Attributes:
        requested: Whether this process was asked to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._earlier = {number: signal.signal(number, self._request) for number in _SIGNALS}
        except ValueError:  # Not the main thread.
            self._earlier = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def agreed(self, fabric: Fabric) -> bool:
        """Return whether any process was asked to stop; called by all of them."""
        if fabric.world_size == 1:
            return self.requested
        requested = torch.tensor(float(self.requested), device=fabric.device)
        total: Any = fabric.all_reduce(requested, reduce_op="sum")
        return bool(total > 0)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        log.warning("Stopping after this step. Once more to stop at once.")
