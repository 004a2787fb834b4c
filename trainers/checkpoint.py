"""Checkpoints: written whole, read without running code, refused if of another model."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from datasets.files import write_whole
from models.state_files import CodeInFileError, StateFileError, load_state
from trainers.errors import CheckpointError

_ADVICE: Final = (
    "Copy it again from where it came, or pass --overwrite to train again from the start."
)


def save_checkpoint(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all; called by all processes, written by process 0.

    Fabric's own saving is for strategies that divide a model among processes, which ours do not;
    it writes to the system's temporary folder first, which may be small, and copies.

    Raises:
        CheckpointError: The file cannot be written; an earlier one at `path` is untouched.
    """
    problem: str | None = None
    if fabric.is_global_zero:
        try:
            with write_whole(path) as temporary, temporary.open("wb") as file:
                torch.save(state, file)
        except (OSError, RuntimeError) as error:
            # What the disk said stands in the error that torch's own one was raised from or after.
            reason = error.__cause__ or error.__context__ or error
            problem = (
                f"Cannot write {path} ({reason}). An earlier checkpoint there is untouched; free "
                "space or mend the permissions, then pass --resume."
            )
    problem = fabric.broadcast(problem)
    if problem is not None:
        raise CheckpointError(problem)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content on the CPU; only plain types and tensors are accepted.

    Raises:
        CheckpointError: The file is missing, broken, or holds anything else.
    """
    try:
        state = load_state(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"No checkpoint {path}.") from error
    except CodeInFileError as error:
        raise CheckpointError(
            f"{path} is broken or holds more than plain types and tensors; it was not opened, "
            f"since it could run code. {_ADVICE}"
        ) from error
    except StateFileError as error:
        raise CheckpointError(f"{path} is no whole checkpoint: {error}. {_ADVICE}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no checkpoint: it holds a {type(state).__name__}.")
    return state


def load_model_state(model: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load `state`, read from `source`, into `model`.

    Raises:
        CheckpointError: As `require_state_of`, or tensors are of a kind that cannot be copied.
    """
    require_state_of(model, state, source)
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:  # Such as sparse ones.
        raise CheckpointError(f"{source} cannot be loaded: {error}") from error


def require_state_of(model: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Raise if `state`, read from `source`, is not that of a model like `model`.

    Raises:
        CheckpointError: Names or shapes are those of another model; the first differences are
            named.
    """
    own = model.state_dict()
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{source} holds no weights: expected names with tensors.")
    problems = [f"lacks {name}" for name in own if name not in state]
    problems += [f"has an unknown {name}" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more differences" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{source} is a checkpoint of another model than {type(model).__name__}: it "
            f"{'; '.join(problems[:3])}{more}."
        )


def rng_state() -> dict[str, Any]:
    """Return the state of all global random generators in plain types and tensors."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(words), gauss_next],
    }


def load_rng_state(state: Mapping[str, Any]) -> None:
    """Set all global random generators to what `rng_state` returned."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, gauss_next = state["python"]
    random.setstate((version, tuple(words), gauss_next))
