"""The environment that the code needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_python_is_new_enough():
    assert sys.version_info >= (3, 11)


def test_torch_and_torchvision_are_a_pair():
    torch, vision = (importlib.metadata.version(n).split(".")[1] for n in ("torch", "torchvision"))
    assert int(vision) - int(torch) == 15, "torch 2.N belongs to torchvision 0.(N+15)"


def test_no_other_datasets_package_is_installed():
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    assert "datasets" not in installed, (
        "The Hugging Face package 'datasets' is installed; with a wrong import path it would hide "
        "this project's own folder. Remove it: pip uninstall datasets"
    )


@pytest.mark.parametrize("name", ["models", "datasets", "trainers", "experiments"])
def test_our_own_packages_are_imported(name: str):
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert Path(spec.origin) == ROOT / name / "__init__.py"


def test_every_requirement_has_a_reason():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert requirements
    assert [line for line in requirements if not re.search(r"\s#\s\S", line)] == []


def test_nothing_calls_the_parts_of_torch_with_known_holes():
    """That of `make audit-deps`'s exceptions, and CVE-2026-136426 and -136427 (PT2 archives)."""
    folders = ("models", "datasets", "trainers", "experiments")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 100
    parts = r"(jit|export|package|_inductor)\b"
    calls = re.compile(rf"torch\.{parts}|from torch import .*\b{parts}")
    assert [path.name for path in sources if calls.search(path.read_text())] == []


def test_every_script_puts_the_root_on_the_path():
    scripts = [p for p in (ROOT / "experiments").glob("*.py") if "__main__" in p.read_text()]
    assert len(scripts) >= 5
    line = "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))"
    assert [path.name for path in scripts if line not in path.read_text()] == []
