"""Checks of memory, processor, threads and GPU."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from experiments.health.findings import Finding

GB: Final = 1e9
LEAST_MEMORY: Final = 4 * GB
"""A fused run takes 3.6 GB for 32 images at a time."""
GOOD_MEMORY: Final = 8 * GB
LEAST_SHARED_MEMORY: Final = 0.5 * GB

_CGROUP: Final = Path("/sys/fs/cgroup")
_SECONDS: Final = 20


def check_memory(num_bytes: float) -> Finding:
    """Check the memory that this process may use."""
    detail = f"{num_bytes / GB:.1f} GB"
    if num_bytes < LEAST_MEMORY:
        return Finding(
            "fail", "memory", detail, "Fused runs need 4 GB: pass a smaller --batch-size, or "
            "give the container or job more.",
        )  # fmt: skip
    if num_bytes < GOOD_MEMORY:
        return Finding("warn", "memory", detail, "Run one training at a time here.")
    return Finding("ok", "memory", detail)


def find_memory(cgroup: Path = _CGROUP) -> float:
    """Return the bytes of memory of the machine, or of the container if that has fewer."""
    total = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    limit = _read(cgroup / "memory.max")
    return min(total, float(limit)) if limit.isdigit() else total


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    """Check what --num-workers hands its images over in."""
    if not folder.is_dir():
        return Finding("ok", "shared memory", "no /dev/shm on this system")
    size = shutil.disk_usage(folder).total
    detail = f"{size / GB:.2f} GB in {folder}"
    if size < LEAST_SHARED_MEMORY:
        return Finding(
            "warn", "shared memory", detail, "--num-workers above 0 may end in a bus error: start "
            "the container with --shm-size 2g, or leave --num-workers 0.",
        )  # fmt: skip
    return Finding("ok", "shared memory", detail)


def count_cores(cgroup: Path = _CGROUP) -> float:
    """Return the cores that this process may use, after affinity and a container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    return min(cores, int(quota) / int(period)) if quota.isdigit() else cores


def check_threads(threads: int, cores: float, environment: Mapping[str, str]) -> Finding:
    """Check that PyTorch has not more threads than there are cores, nor half as many."""
    asked = environment.get("OMP_NUM_THREADS")
    said = f", OMP_NUM_THREADS={asked}" if asked else ""
    detail = f"{threads} thread(s) on {cores:g} core(s){said}"
    if threads > cores + 0.5:
        return Finding(
            "warn", "threads", detail, "More threads than cores slow each other down: export "
            f"OMP_NUM_THREADS={max(1, int(cores))}",
        )  # fmt: skip
    if threads < cores / 2:
        return Finding(
            "warn", "threads", detail, "Cores lie idle: unset OMP_NUM_THREADS, unless several runs "
            "share this machine. Results are bit-equal with the same number only.",
        )  # fmt: skip
    return Finding("ok", "threads", detail)


def find_threads() -> int | None:
    """Return PyTorch's threads, None where it cannot be imported."""
    try:
        return int(importlib.import_module("torch").get_num_threads())
    except (ImportError, OSError):
        return None


def check_gpu() -> Finding:
    """Check that a GPU, if there is one, can be computed on."""
    driver = _ask_driver()
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return Finding("fail", "GPU", f"torch cannot be imported: {str(error)[:150]}")
    if torch.cuda.is_available():
        return _try_gpu(torch, driver)
    if torch.backends.mps.is_available():
        return Finding("ok", "GPU", "Apple MPS; results differ from CUDA and CPU by rounding")
    if not driver:
        return Finding("ok", "GPU", "none; --device auto computes on the CPU")
    built = torch.version.cuda
    if built is None:
        advice = "This torch is built for the CPU: install torch and torchvision for CUDA."
    else:
        advice = (
            f"This torch needs a driver for CUDA {built}: update the driver, or install a torch "
            "for an older CUDA. In a container, start it with --gpus all."
        )
    return Finding("warn", "GPU", f"the driver sees {driver}, PyTorch does not", advice)


def _try_gpu(torch: Any, driver: str) -> Finding:
    try:
        name = torch.cuda.get_device_name()
        ones = torch.ones(8, 8, device="cuda")
        total = float((ones @ ones).sum())
        free, size = torch.cuda.mem_get_info()
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:150]
        return Finding(
            "fail", "GPU", f"{driver or 'there'}, but it does not compute: {reason}",
            "Update the driver or install a torch for this GPU; --device cpu works meanwhile.",
        )  # fmt: skip
    detail = f"{name}, {free / GB:.1f} of {size / GB:.1f} GB free"
    if total != 512:
        return Finding("fail", "GPU", f"{detail}; it computes wrongly", "Have it checked.")
    if free < LEAST_MEMORY:
        return Finding("warn", "GPU", detail, "Others use it: wait, or pass --device cpu.")
    return Finding("ok", "GPU", detail)


def _ask_driver() -> str:
    """Return name and driver of the first NVIDIA GPU, empty without one."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else ""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
