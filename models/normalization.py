"""Batch norm exchanged for another normalisation in a whole network, or held still for a while."""

# B batch, C channels, H W height width

from __future__ import annotations

from typing import Final, Literal, get_args

from timm.layers.norm_act import (
    BatchNormAct2d,
    GroupNormAct,
    SyncBatchNormAct,
    freeze_batch_norm_2d,
)
from torch import Tensor, nn
from torch.nn import functional

# PyTorch's base class of all batch norms, of which timm's with activation (BatchNormAct2d) are too.
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from models.errors import ModelError

Norm = Literal["batch", "group", "frozen-batch"]
MAX_GROUPS: Final = 32
_MIN_GROUP_CHANNELS: Final = 2


def replace_batch_norm(module: nn.Module, norm: Norm) -> nn.Module:
    """Exchange all batch-norm layers of a network, in place, and return it.

    Scale and shift of each channel are kept, so are the activation and dropout that a timm layer
    bears, and a layer that stands in two places stays one.

    * ``batch``: nothing is changed.
    * ``group``: group norm (Wu and He 2018, section 3) over the single image, thus the same in
      training and evaluation and for any batch size. 32 groups, or the largest divisor of C below
      that leaves two channels in a group: one alone would lose all it says where the map is 1x1.
      Running statistics are dropped. Call it after pretrained weights were loaded.
    * ``frozen-batch``: the function of batch norm in evaluation mode for good: scale, shift and
      statistics become buffers, that neither an optimizer nor ``train()`` moves. The names in the
      state dict stay, but for ``num_batches_tracked``, which is passed over when one is loaded.

    Args:
        module: The network; if it is itself a batch norm, only the returned layer is new.
        norm: What takes the place of batch norm.

    Raises:
        ModelError: `norm` is not known; the network has no batch norm to exchange; or a layer
            has no running statistics to freeze.
    """
    if norm not in get_args(Norm):
        raise ModelError(f"--norm {norm!r} is none of {', '.join(get_args(Norm))}.")
    if norm == "batch":
        return module
    # With duplicates: a layer that stands in two places has to be exchanged in both.
    places = [
        (path, layer)
        for path, layer in module.named_modules(remove_duplicate=False)
        if isinstance(layer, _BatchNorm)
    ]
    if not places:
        raise ModelError(
            f"--norm {norm}: {type(module).__name__} has no batch norm to exchange. Take --norm "
            "batch, which leaves a network as it is, or a backbone with batch norm, e.g. resnet18."
        )
    # All are made before the first is set, so that an error leaves the network as it was.
    replacements: dict[_BatchNorm, nn.Module] = {}
    for path, layer in places:
        if layer not in replacements:
            new = _to_group_norm(layer) if norm == "group" else _to_frozen(layer, path)
            new.training = layer.training
            replacements[layer] = new
    for path, layer in places:
        if not path:
            return replacements[layer]
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, replacements[layer])
    return module


def freeze_batch_norm(module: nn.Module, frozen: bool) -> int:
    """Hold the batch-norm layers of a network still for a stage of training, or release them.

    A frozen layer normalises by its running statistics, which do not move, and its scale and shift
    require no gradient. Since ``train()`` on any parent sets the statistics free again, call this
    after each. Activation and dropout inside a timm layer keep their mode.

    Args:
        module: The network, or the part of it that is meant.
        frozen: True holds; False makes scale and shift trained and puts each layer in the mode of
            `module`. Do not release what is frozen for another reason, e.g. a whole trunk.

    Returns:
        The number of batch-norm layers, 0 where the network has none.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    mode = module.training and not frozen
    for layer in layers:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(not frozen)
        layer.training = mode
    return len(layers)


class FrozenBatchNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """torchvision's frozen batch norm for inputs (B, C, ...) of any number of dimensions."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `inputs`, float (B, C, ...), normalised by the statistics kept."""
        return functional.batch_norm(
            inputs,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=False,
            eps=self.eps,
        )


def _to_group_norm(layer: _BatchNorm) -> nn.Module:
    channels = layer.num_features
    largest = max(1, min(MAX_GROUPS, channels // _MIN_GROUP_CHANNELS))
    groups = next(number for number in range(largest, 0, -1) if channels % number == 0)
    new: nn.GroupNorm
    if isinstance(layer, BatchNormAct2d | SyncBatchNormAct):
        new = GroupNormAct(channels, groups, eps=layer.eps, affine=layer.affine)
        new.add_module("drop", layer.get_submodule("drop"))
        new.add_module("act", layer.get_submodule("act"))
    else:
        new = nn.GroupNorm(groups, channels, eps=layer.eps, affine=layer.affine)
    if layer.affine:
        # The parameters themselves: device, precision and requires_grad stay as they were.
        new.weight = layer.weight
        new.bias = layer.bias
    return new


def _to_frozen(layer: _BatchNorm, path: str) -> nn.Module:
    if layer.running_mean is None or layer.running_var is None:
        raise ModelError(
            f"--norm frozen-batch: the batch norm {path or 'given'} keeps no running statistics "
            "that could be frozen. Take --norm group or another backbone."
        )
    new: nn.Module
    if isinstance(layer, BatchNormAct2d | SyncBatchNormAct):
        new = freeze_batch_norm_2d(layer)  # type: ignore[no-untyped-call]
    else:
        new = FrozenBatchNorm(layer.num_features, layer.eps)
        # Not strict: a layer without scale and shift gives neither.
        new.load_state_dict(layer.state_dict(), strict=False)
    return new.to(layer.running_mean)
