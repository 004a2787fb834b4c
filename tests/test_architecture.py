"""Who may import whom, read from the code with ast."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("models", "datasets", "trainers", "experiments")
FORBIDDEN = {
    "models": {"datasets", "trainers", "experiments", "lightning_fabric", "tyro"},
    "datasets": {"models", "trainers", "experiments", "lightning_fabric", "tyro"},
    "trainers": {"experiments", "tyro", "matplotlib"},
    "experiments": {"lightning_fabric"},
    "experiments/reporting": {"torch", "trainers", "models", "lightning_fabric"},
}
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path: Path):
    relative = path.relative_to(ROOT).as_posix()
    rule = max((folder for folder in FORBIDDEN if relative.startswith(f"{folder}/")), key=len)
    assert not imported_packages(path) & FORBIDDEN[rule]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_openslide_is_used_for_slides_only(path: Path):
    if "wsi" not in path.parts:
        assert "openslide" not in imported_packages(path)


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in MODULES}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_there_are_modules_to_check():
    assert len(MODULES) > 30
