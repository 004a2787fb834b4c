"""What the machine can do at most, measured, and how much work an image is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from datasets.images import list_images, read_image
from experiments.benchmarks.jobs import (
    Job,
    Networks,
    build_autoencoder,
    build_base,
    build_networks,
)
from experiments.benchmarks.plain import FUSED_SIZES, run_frozen, use_source_order

MATRIX_SIDE: Final = 2048
COPIED_BYTES: Final = 2**28
MIN_SECONDS: Final = 0.5
_MAX_DECODED: Final = 32
_MATRIX_PRODUCTS: Final = frozenset(
    {
        torch.ops.aten.convolution,
        torch.ops.aten.convolution_backward,
        torch.ops.aten.addmm,
        torch.ops.aten.mm,
        torch.ops.aten.bmm,
    }
)

Work = Literal["fused", "base", "autoencoder", "extract", "predict"]
WayName = Literal["plain", "ours"]


@dataclass(frozen=True)
class Ceilings:
    """Rates that no program on this machine exceeds.

    Attributes:
        matrix_float32: Floating-point operations a second of a square product, side 2,048.
        matrix_bfloat16: The same in bf16.
        copied_bytes: Bytes a second copied from one place in memory to another.
        decoded_images: JPEGs of the benchmark a second, read and decoded by Pillow in one thread.
    """

    matrix_float32: float
    matrix_bfloat16: float
    copied_bytes: float
    decoded_images: float


def measure_ceilings(job: Job) -> Ceilings:
    """Return the rates of this machine, the best of several tries each."""
    job.set_up_process()
    device = torch.device(job.device)
    paths = [
        path
        for folder in sorted(job.images.iterdir())
        if folder.is_dir()
        for path in list_images(folder)
    ][:_MAX_DECODED]
    return Ceilings(
        matrix_float32=_measure_product(torch.float32, device),
        matrix_bfloat16=_measure_product(torch.bfloat16, device),
        copied_bytes=_measure_copy(device),
        decoded_images=_measure_decode(paths),
    )


@dataclass(frozen=True)
class Cost:
    """What one image takes.

    Attributes:
        operations: Floating-point operations of convolutions and linear layers, forward and for
            what is trained backward; a product and its sum are two.
        traffic: Bytes that all other layers (normalization, pooling, sums) read and write, each
            once an operator: these are bound by memory.
    """

    operations: int
    traffic: int


def count_cost(work: Work, way: WayName, *, bytes_a_value: int = 4) -> Cost:
    """Return the cost of one image.

    Args:
        work: What is done.
        way: Plainly, or as we do it.
        bytes_a_value: Of maps and gradients: 2 in bf16.
    """
    images = [torch.empty(1, 3, size, size, device="meta") for size in FUSED_SIZES]
    # Before the counter looks: building a backbone tries it on an image.
    networks = build_networks(0)
    for module in (networks.autoencoder, networks.tumor, networks.fused):
        module.to("meta")
    autoencoder, base = build_autoencoder(0).to("meta"), build_base(0).to("meta")
    if way == "plain":
        for model in (networks.autoencoder, networks.fused, autoencoder, base):
            use_source_order(model)
    stored = {
        encoder.name: torch.empty(1, *encoder.feature_shape, device="meta")
        for encoder in networks.encoders
    }
    counter, traffic = FlopCounterMode(display=False), _TrafficCounter(bytes_a_value)
    with counter, traffic:
        if work == "autoencoder":
            _backward(autoencoder(images[0]))
        elif work == "base":
            _backward(base(images[2]))
        else:
            _do_fused(networks, work, way, images, stored)
    return Cost(int(counter.get_total_flops()), traffic.total)


class _TrafficCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operators bound by memory read and write."""

    def __init__(self, bytes_a_value: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes_a_value = bytes_a_value
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket not in _MATRIX_PRODUCTS:
            self.total += sum(map(self._count, tree_leaves((args, kwargs, result))))
        return result

    def _count(self, value: object) -> int:
        if not isinstance(value, Tensor):
            return 0
        size = self.bytes_a_value if value.is_floating_point() else value.element_size()
        return value.numel() * size


def _do_fused(
    networks: Networks,
    work: Work,
    way: WayName,
    images: Sequence[Tensor],
    stored: dict[str, Tensor],
) -> None:
    """Do the work for one image on tensors without values."""
    if way == "plain":
        features = run_frozen(networks, images)
    elif work == "fused":
        features = stored
    else:
        features = {e.name: e(image) for e, image in zip(networks.encoders, images, strict=False)}
    if work == "fused":
        _backward(networks.fused(images[2], features))
    elif work == "predict":
        with torch.no_grad():
            networks.fused(images[2], features)


def _backward(outputs: Tensor) -> None:
    outputs.sum().backward()  # type: ignore[no-untyped-call]


def _measure_product(dtype: torch.dtype, device: torch.device) -> float:
    first, second = (
        torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=device).to(dtype) for _ in range(2)
    )
    return 2 * MATRIX_SIDE**3 / _best_seconds(lambda: first @ second, device)


def _measure_copy(device: torch.device) -> float:
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return COPIED_BYTES / _best_seconds(lambda: target.copy_(source), device)


def _measure_decode(paths: Sequence[Path]) -> float:
    def decode() -> None:
        for path in paths:
            read_image(path)

    return len(paths) / _best_seconds(decode, torch.device("cpu"))


def _best_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the least time of `run`, tried for `MIN_SECONDS` after a first time."""
    run()
    best, until = float("inf"), time.perf_counter() + MIN_SECONDS
    while True:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        end = time.perf_counter()
        best = min(best, end - start)
        if end > until:
            return best
