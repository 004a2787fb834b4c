"""Where to compute, as asked for."""

from __future__ import annotations

import pytest
import torch

from trainers.device import launch_fabric
from trainers.errors import RunError


def test_a_gpu_that_the_machine_lacks_is_refused_with_what_to_pass_instead(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RunError, match="--device cuda: PyTorch finds no CUDA GPU.*make doctor"):
        launch_fabric("cuda", "32-true", 0)
    with pytest.raises(RunError, match="--device mps: PyTorch finds no Apple GPU.*auto or cpu"):
        launch_fabric("mps", "32-true", 0)
    assert launch_fabric("auto", "32-true", 0).device.type == "cpu"
