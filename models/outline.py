"""Models without their values: names and shapes, on PyTorch's meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from models.errors import ModelError

_MAKERS: Final = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye,
    torch.linspace,
}  # fmt: skip
"""What layers are made with. `torch.tensor` and `torch.arange` stay: architectures such as RegNet
compute their own widths with them."""

_NOT_MADE: Final = (
    ModelError, RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError,
)  # fmt: skip


class _WithoutValues(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _MAKERS and given.get("device") is None:
            given["device"] = "meta"
        return func(*args, **given)


def outline(build: Callable[[], nn.Module]) -> nn.Module | None:
    """Return the model that `build` makes with tensors that have a shape but take no memory.

    None where the model cannot be made so, since it computes with its own values, or not at all.
    """
    # Where one way fails the other mostly works: RegNet reads values, Swin V2 mixes devices.
    for mode in (_WithoutValues(), torch.device("meta")):
        try:
            with mode:
                return build()
        except _NOT_MADE:
            continue
    return None
