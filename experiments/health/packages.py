"""Checks of Python and of the packages that requirements.txt names."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from experiments.health.findings import Finding

LEAST_PYTHON: Final = (3, 11)
_PAIR_OFFSET: Final = 15
"""torch 2.N belongs to torchvision 0.(N + 15)."""
_INSTALL: Final = "make run does it, or: pip install -r requirements.txt"

VersionOf = Callable[[str], str | None]
"""Gives the version of an installed package by its name, or None."""


def version_of(name: str) -> str | None:
    """Return the version of an installed package, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Check that Python is new enough."""
    text = ".".join(map(str, version))
    if version >= LEAST_PYTHON:
        return Finding("ok", "Python", text)
    least = ".".join(map(str, LEAST_PYTHON))
    return Finding(
        "fail", "Python", text, f"{least} or newer is needed: make PYTHON=python{least} clean run"
    )


def check_requirements(lines: Iterable[str], version_of: VersionOf = version_of) -> Finding:
    """Check that the packages in the lines of requirements.txt are there, within their bounds."""
    wrong = []
    number = 0
    for line in lines:
        text = re.split(r"\s#", line, maxsplit=1)[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        number += 1
        needed = Requirement(text)
        found = version_of(needed.name)
        if found is None:
            wrong.append(f"{needed.name} is not installed")
        elif not needed.specifier.contains(found, prereleases=True):
            wrong.append(f"{needed.name} is {found}, needed is {needed.specifier}")
    if wrong:
        return Finding("fail", "packages", "; ".join(wrong), f"Install them: {_INSTALL}")
    return Finding("ok", "packages", f"all {number} of requirements.txt, within their bounds")


def check_torch_pair(version_of: VersionOf = version_of) -> Finding:
    """Check that torch and torchvision belong together by their versions, and work together."""
    versions = {name: version_of(name) for name in ("torch", "torchvision")}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    minors = [_find_minor(version) for version in versions.values()]
    advice = (
        "torch 2.N belongs to torchvision 0.(N+15), from one index and both for CPU or both for "
        f"one CUDA. Uninstall both, then {_INSTALL}"
    )
    if minors[0] is None or minors[1] is None or minors[1] - minors[0] != _PAIR_OFFSET:
        return Finding("fail", "torch and torchvision", text, advice)
    try:
        torch = importlib.import_module("torch")
        ops = importlib.import_module("torchvision.ops")
        # A C++ operator: it is what lacks where the two were built apart.
        ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0][:200]
        return Finding("fail", "torch and torchvision", f"{text}: {reason}", advice)
    return Finding("ok", "torch and torchvision", text)


def check_openslide() -> Finding:
    """Check that the OpenSlide library is found."""
    try:
        library = importlib.import_module("datasets.wsi.library")
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        return Finding(
            "fail", "OpenSlide", reason, "pip install openslide-bin brings the library; without "
            "it slides cannot be cut, all else works.",
        )  # fmt: skip
    return Finding("ok", "OpenSlide", f"library {library.openslide_version()}")


def check_stray_datasets(root: Path, version_of: VersionOf = version_of) -> Finding:
    """Check that ``datasets`` is the folder of this project and no installed package."""
    stray = version_of("datasets")
    spec = importlib.util.find_spec("datasets")
    origin = Path(spec.origin).resolve() if spec and spec.origin else None
    is_ours = origin == (root / "datasets" / "__init__.py").resolve()
    if stray is None and is_ours:
        return Finding("ok", "import of datasets", "this project's folder")
    detail = f"the Hugging Face package datasets {stray} is installed" if stray else f"is {origin}"
    if not is_ours:
        detail += " and hides this project's folder"
    return Finding(
        "fail" if not is_ours else "warn", "import of datasets", detail,
        "pip uninstall datasets, or use an environment of this project's own (make run makes one)",
    )  # fmt: skip


def _find_minor(version: str | None) -> int | None:
    found = re.match(r"\d+\.(\d+)", version or "")
    return int(found[1]) if found else None
