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


WRITING_METHODS = {"write_text", "write_bytes", "savefig", "to_csv", "to_json", "save", "savez"}
NOT_WHOLE = {
    "datasets/files.py:sync": "is the end of write_whole itself",
    "datasets/feature_writing.py:_fill": "fills a hidden file, each row with a checksum",
    "datasets/downloads/fetch.py:_receive": "goes on with a hidden file, which a hash is for",
    "datasets/downloads/fetch.py:_write_validator": "belongs to that hidden file",
    "datasets/downloads/unpack.py:copy": "fills a hidden folder, renamed when all is out",
    "datasets/preparing.py:_write_image": "fills a hidden folder, renamed when all is in",
    "datasets/synthetic/storage.py:write_marker": "is part of a set drawn into a new folder",
    "datasets/synthetic/storage.py:save_image": "is part of a set drawn into a new folder",
    "datasets/synthetic/copies.py:write_copies": "is part of a set drawn into a new folder",
    "datasets/synthetic/published.py:_write_smears": "is part of a set drawn into a new folder",
    "datasets/synthetic/slides.py:write_slide": "is part of a set drawn into a new folder",
    "datasets/synthetic/slides.py:write_asap": "is part of a set drawn into a new folder",
    "trainers/hooks/checkpoint.py:after_epoch": "calls Trainer.save, which writes whole",
    "trainers/hooks/checkpoint.py:on_exception": "calls Trainer.save, which writes whole",
    "experiments/executors.py:_run_here": "logs a failure, of which half is better than nothing",
    "experiments/health/folders.py:check_folder": "tries whether a folder can be written",
    "experiments/benchmarks/plain.py:run_round": "is the plain way that ours is compared with",
    "experiments/benchmarks/tiling.py:tile_plainly": "is the plain way that ours is compared with",
}
"""Functions that write files in other ways, and why a kill in the midst does no harm there."""


def is_writing(call: ast.Call) -> bool:
    """Whether a call writes to a file; pictures in memory are called ``buffer`` or ``memory``."""
    if isinstance(call.func, ast.Name):
        opens, name = call.func.id == "open", call.func.id
    elif isinstance(call.func, ast.Attribute):
        opens, name = call.func.attr in ("open", "File"), call.func.attr
    else:
        return False
    if opens:
        found = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
        modes = {node.value for part in found for node in ast.walk(part) if is_mode(node)}
        return bool(set("wax+") & set("".join(modes)))
    in_memory = any(isinstance(a, ast.Name) and a.id in ("buffer", "memory") for a in call.args)
    return name in WRITING_METHODS and bool(call.args) and not in_memory


def is_mode(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 4


def is_whole(node: ast.AST) -> bool:
    return isinstance(node, ast.With) and any(
        isinstance(item.context_expr, ast.Call)
        and isinstance(item.context_expr.func, ast.Name)
        and item.context_expr.func.id == "write_whole"
        for item in node.items
    )


def find_writes(node: ast.AST, function: str = "") -> set[str]:
    """Return the functions below `node` that write files outside of a block of write_whole."""
    if is_whole(node):
        return set()
    if isinstance(node, ast.FunctionDef):
        function = node.name
    found = {function} if isinstance(node, ast.Call) and is_writing(node) else set()
    return found.union(*(find_writes(child, function) for child in ast.iter_child_nodes(node)))


def test_files_appear_whole_or_there_is_a_reason():
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{function}"
        for path in MODULES
        for function in find_writes(ast.parse(path.read_text()))
    }
    assert found == set(NOT_WHOLE)


@pytest.mark.parametrize(
    ("line", "writes"),
    [
        ("path.write_text(text)", True),
        ("path.open('wb')", True),
        ("open(path, mode='a')", True),
        ("part.open('ab' if resumes else 'wb')", True),
        ("h5py.File(path, 'w')", True),
        ("torch.save(state, path)", True),
        ("table.to_csv(path)", True),
        ("table.to_csv(index=False)", False),
        ("image.save(buffer, format='PNG')", False),
        ("path.open(newline='')", False),
        ("h5py.File(path)", False),
        ("with write_whole(p) as t, t.open('w') as file: file.write(text)", False),
    ],
)
def test_writing_is_told_from_reading(line: str, writes: bool):
    assert bool(find_writes(ast.parse(f"def work():\n    {line}"))) == writes
