"""Hooks observe and persist; only `UnfreezingHook` changes what is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainers.hooks.base import EVENTS, Hook
from trainers.hooks.checkpoint import CheckpointHook
from trainers.hooks.frozen_guard import FrozenGuardHook
from trainers.hooks.metrics_csv import MetricsCsvHook
from trainers.hooks.progress import ProgressHook
from trainers.hooks.tensorboard import Picture, TensorBoardHook
from trainers.hooks.unfreezing import UnfreezingHook
from trainers.run import METRICS

__all__ = [
    "EVENTS",
    "CheckpointHook",
    "FrozenGuardHook",
    "Hook",
    "MetricsCsvHook",
    "Picture",
    "ProgressHook",
    "TensorBoardHook",
    "UnfreezingHook",
    "default_hooks",
]


def default_hooks(
    run_dir: Path, title: str, pictures: Mapping[str, Picture] | None = None
) -> list[Hook]:
    """Return the hooks of every run, in the order in which they are called."""
    return [
        # 1. First, so that the bars move whatever the others do.
        ProgressHook(title),
        # 2. and 3. Before the checkpoint, which holds their state of this epoch.
        MetricsCsvHook(run_dir / METRICS),
        TensorBoardHook(run_dir, pictures),
        # 4. After all hooks that have a state.
        CheckpointHook(run_dir),
        # 5. Last: when it fails a run, the others have closed their files.
        FrozenGuardHook(),
    ]
