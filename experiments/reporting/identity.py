"""Which command made a run, and which runs differ in nothing but the seed."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping, Sequence, Set
from pathlib import Path, PurePath
from typing import Any, Final

from experiments.reporting.load_runs import FinishedRun

_ROOT: Final = Path(__file__).resolve().parents[2]
_MACHINE: Final = frozenset(
    {"runs_root", "cache_root", "device", "precision", "num_workers", "keep_on_gpu"}
    | {"resume", "overwrite"}
)
"""Options on which the result does not depend, but for rounding."""
_NOT_RECIPE: Final = frozenset(
    {"seed", "split", "epochs", "data_root", "skip_unreadable", "check_counts"}
    | {"prcc_run", "cam16_run", "backbone", "backbone_weights"}
)
"""What a result table shows in columns of its own, or says of its data and encoders."""
_SEED: Final = re.compile(r"seed-\d+")


def model_key(run: FinishedRun) -> str:
    """Return a text that is the same for runs of one command and folder but for the seed.

    The options' paths, e.g. of the run that a transfer starts from, may name other seeds too.
    """
    options = find_choices(run, _MACHINE | {"seed"})
    named = {name: run.config.get(name) for name in ("experiment", "variant", "protocol")}
    key = {"named": named, "options": options, "folder": str(run.path.resolve())}
    return _SEED.sub("seed-*", json.dumps(key, sort_keys=True, default=str))


def name_recipe(run: FinishedRun) -> str:
    """Return the experiment's name, with the flags of what was changed in how it learns."""
    choices = find_choices(run, _MACHINE | _NOT_RECIPE)
    flags = [word for name, value in choices.items() for word in _flag_of(name, value)]
    return shlex.join([_experiment_of(run), *flags])


def rebuild_command(run: FinishedRun, *, with_seed: bool = True) -> str:
    """Return the command of a run, with base names in place of folders of this machine.

    Options at the script's default are left out, as are those on which the result does not depend.

    Args:
        run: Whose ``config.json`` holds the options.
        with_seed: Without it, the seed is left out.
    """
    choices = find_choices(run, _MACHINE if with_seed else _MACHINE | {"seed"})
    words = [word for name, value in choices.items() for word in _flag_of(name, value)]
    return shlex.join(["python", f"experiments/{_experiment_of(run)}.py", *words])


def find_choices(run: FinishedRun, left_out: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the run's options that are not at the script's default, but for some names."""
    experiment = _experiment_of(run)
    # The name comes from a run folder and must not lead to other files.
    is_name = experiment.isidentifier()
    defaults = read_defaults(_ROOT / "experiments" / f"{experiment}.py") if is_name else {}
    return {
        name: value
        for name, value in run.config.get("options", {}).items()
        if name not in left_out
        and value is not None
        and not (name in defaults and _plain(defaults[name]) == value)
    }


def read_defaults(script: Path) -> dict[str, Any]:
    """Return the defaults of the dataclass ``Options`` in `script` and of its bases.

    They are read from the source, since importing a training script needs torch. Defaults that are
    neither literals nor names of constants are left out; so is a class whose file cannot be read.
    """
    return _read_class(script, "Options")


def _read_class(path: Path, name: str) -> dict[str, Any]:
    body = _parse(path)
    found: dict[str, Any] = {}
    for node in body:
        if not isinstance(node, ast.ClassDef) or node.name != name:
            continue
        for base in node.bases:
            if isinstance(base, ast.Name):
                found |= _read_class(*_find_origin(path, body, base.id))
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                # A field declared again hides the default of the base.
                found.pop(line.target.id, None)
                found |= _read_value(path, line.target.id, line.value)
    return found


def _read_value(path: Path, name: str, value: ast.expr | None) -> dict[str, Any]:
    """Return `name` with its value; nothing if that is neither a literal nor a constant's name."""
    if isinstance(value, ast.Name):
        origin, constant = _find_origin(path, _parse(path), value.id)
        for node in _parse(origin):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            if any(isinstance(target, ast.Name) and target.id == constant for target in targets):
                value = node.value  # type: ignore[attr-defined]
    try:
        return {name: ast.literal_eval(value)} if value is not None else {}
    except ValueError:
        return {}


def _parse(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_text()).body
    except (OSError, SyntaxError, ValueError):
        return []


def _find_origin(path: Path, body: Sequence[ast.stmt], name: str) -> tuple[Path, str]:
    """Return the file that defines what a module calls `name`, and its name there."""
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _ROOT / f"{node.module.replace('.', '/')}.py", alias.name
    return path, name


def _experiment_of(run: FinishedRun) -> str:
    return str(run.config.get("experiment") or run.summary["experiment"])


def _plain(value: Any) -> Any:
    """Return what the value is after JSON, as ``config.json`` holds it."""
    return json.loads(json.dumps(value, default=str))


def _flag_of(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else [f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, Mapping):
        return [word for key, part in value.items() for word in _flag_of(f"{name}.{key}", part)]
    values = value if isinstance(value, list) else [value]
    return [flag, *(_hide_folder(name, str(part)) for part in values)]


def _hide_folder(name: str, value: str) -> str:
    """Return the base name of what may be a folder of this machine."""
    path = PurePath(value)
    if name == "data_root" or path.is_absolute() or ".." in path.parts:
        return path.name
    return value
