"""Devices, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import ctypes
import os
import platform
import warnings
from typing import Literal

import torch
from lightning_fabric import Fabric, seed_everything

from trainers.errors import RunError

_MALLOC_SETTINGS = (
    (-4, 0),  # M_MMAP_MAX: take large blocks from the heap, too.
    (-1, -1),  # M_TRIM_THRESHOLD: never shrink the heap.
    (-2, 2**28),  # M_TOP_PAD: grow the heap by 256 MB at a time.
)

__all__ = [
    "Device",
    "Fabric",
    "Precision",
    "hide_bars",
    "launch_fabric",
    "precision_of",
    "resolve_precision",
    "seed_all",
]

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "32-true", "bf16-mixed"]


def launch_fabric(
    device: Device, precision: Precision, seed: int, *, frozen_parts: bool = False
) -> Fabric:
    """Return a launched Fabric: one process, or all that torchrun started.

    Args:
        device: Where to compute.
        precision: Of the arithmetic.
        seed: Of all random generators.
        frozen_parts: Parameters will be frozen for a part of the fit, which processes that share
            their gradients have to know.

    Raises:
        RunError: The machine has no such device.
    """
    _require_device(device)
    accelerator = _find_accelerator() if device == "auto" else device
    if accelerator == "cpu":
        _keep_freed_memory()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    # Where Slurm is installed, Fabric advises each process to be started by srun.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(1, world // local),
        strategy=("ddp_find_unused_parameters_true" if frozen_parts else "ddp")
        if world > 1
        else "auto",
        precision=resolve_precision(accelerator, precision),
    )
    fabric.launch()
    seed_all(seed)
    return fabric


def seed_all(seed: int) -> None:
    """Seed the random generators of PyTorch, NumPy and Python."""
    seed_everything(seed, verbose=False)


def resolve_precision(accelerator: str, precision: Precision) -> Literal["32-true", "bf16-mixed"]:
    """Return `precision`, or for ``auto`` bf16-mixed where the hardware multiplies in bf16."""
    if precision != "auto":
        return precision
    if accelerator == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator == "cpu":
        native = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        native = False
    return "bf16-mixed" if native else "32-true"


def hide_bars() -> Literal[True] | None:
    """Return what tqdm takes as ``disable``: bars show on a terminal and in process 0 only."""
    return None if os.environ.get("RANK", "0") == "0" else True


def precision_of(fabric: Fabric) -> str:
    """Return the precision that `fabric` was launched with."""
    return str(fabric._precision.precision)  # Fabric has no public name for it.


def _require_device(device: Device) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        lacking = "CUDA GPU"
    elif device == "mps" and not torch.backends.mps.is_available():
        lacking = "Apple GPU (MPS)"
    else:
        return
    raise RunError(
        f"--device {device}: PyTorch finds no {lacking}. Pass --device auto or cpu; make doctor "
        "says what this machine has."
    )


def _find_accelerator() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks rather than to give them back to the system.

    Each step frees and takes the same large feature maps; with glibc's defaults every one is mapped
    and zeroed by the kernel anew, which takes more than half of a training step on two cores. The
    arithmetic is untouched. Other C libraries keep their own ways.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in _MALLOC_SETTINGS:
        libc.mallopt(parameter, value)
