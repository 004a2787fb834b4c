"""Image backbones by name, from torchvision or timm, without their classification layer."""

from __future__ import annotations

import difflib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import timm
import torch
import torchvision
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from models.errors import ModelError, WeightsError
from models.state_files import CodeInFileError, StateFileError, load_state

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
RANDOM: Final = "random"
PRETRAINED: Final = "pretrained"
WEIGHTS_FLAG: Final = "--backbone-weights"

_HEAD_NAMES: Final = ("fc", "classifier", "heads", "head")
_CONNECT_SECONDS: Final = 10

_Triple = tuple[float, float, float]
_Input = tuple[tuple[int, int], _Triple, _Triple]


@dataclass(frozen=True)
class Backbone:
    """A trunk that maps normalised images (B, 3, H, W) to features (B, num_features).

    Attributes:
        name: By which torchvision or timm knows it.
        trunk: Without its classification layer, in evaluation mode.
        num_features: That leave the trunk.
        input_size: (H, W) in pixels of the images that its pretrained weights were made with.
        mean: By channel, subtracted from images in [0, 1].
        std: By channel, divided by.
    """

    name: str
    trunk: nn.Module
    num_features: int
    input_size: tuple[int, int]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def build_backbone(name: str, weights: str = PRETRAINED, flag: str = WEIGHTS_FLAG) -> Backbone:
    """Return a backbone with its weights.

    Args:
        name: A torchvision classifier (tried first) or a timm model, e.g. ``resnet18``.
        weights: ``pretrained`` (the library's default weights, from its cache or by download),
            ``random``, or the path of a safetensors file or state dict of the model or its trunk.
        flag: With which the user chooses the weights.

    Raises:
        ModelError: No such backbone.
        WeightsError: The weights are not to be had, or are those of another model.
    """
    torchvision_names = torchvision.models.list_models(module=torchvision.models)
    is_torchvision = name in torchvision_names
    if not is_torchvision and not timm.is_model(name):
        near = difflib.get_close_matches(name, [*torchvision_names, *timm.list_models()])
        hint = f" Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
        raise ModelError(f"--backbone {name!r} is known to neither torchvision nor timm.{hint}")
    if is_torchvision:
        trunk = torchvision.models.get_model(name, weights=None)
        _remove_head(trunk)
        input_size, mean, std = _torchvision_input(name)
    else:
        trunk = timm.create_model(name, pretrained=False, num_classes=0)
        input_size, mean, std = _timm_input(trunk)
    if weights == PRETRAINED:
        read = _torchvision_state if is_torchvision else _timm_state
        state = read(name, flag)
        load_weights(trunk, state, f"the pretrained weights of {name}")
    elif weights != RANDOM:
        load_weights(trunk, read_state(Path(weights)), weights)
    trunk.eval()
    with torch.no_grad():
        features = trunk(torch.zeros(1, 3, *input_size))
    return Backbone(name, trunk, int(features.shape[1]), input_size, mean, std)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file or of a PyTorch state dict, never running code.

    Raises:
        WeightsError: The file is missing, broken, or holds more than tensors.
    """
    try:
        state = load_state(path)
    except FileNotFoundError as error:
        raise WeightsError(f"--backbone-weights {path}: no such file.") from error
    except CodeInFileError as error:
        raise WeightsError(
            f"{path} holds more than tensors and was not opened, since it could run code. Save "
            "the weights as safetensors or as a plain state dict."
        ) from error
    except StateFileError as error:
        raise WeightsError(f"{path} is no safetensors file or state dict: {error}.") from error
    if isinstance(state, Mapping) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} is no state dict: expected names with tensors.")
    return dict(state)


def load_weights(trunk: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into `trunk`, or into its ``features`` if the names are those of that part.

    Values of a classification layer, which the trunk has not, are passed over; all values of the
    trunk must be there.

    Raises:
        WeightsError: Names are missing or shapes differ; the first differences are named.
    """
    target = trunk
    features = getattr(trunk, "features", None)
    if isinstance(features, nn.Module) and set(features.state_dict()) <= set(state):
        target = features
    own = target.state_dict()
    missing = [name for name in own if name not in state and "num_batches_tracked" not in name]
    wrong = [
        f"{name}: {tuple(state[name].shape)} given, {tuple(own[name].shape)} needed"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    extra = [name for name in state if name not in own and name.split(".")[0] not in _HEAD_NAMES]
    if missing or wrong or extra:
        problems = [f"{len(missing)} missing, e.g. {missing[0]}"] if missing else []
        problems += [f"{len(wrong)} of another shape, e.g. {wrong[0]}"] if wrong else []
        problems += [f"{len(extra)} unknown, e.g. {extra[0]}"] if extra else []
        raise WeightsError(
            f"{source} does not fit the backbone: {'; '.join(problems)}. Check --backbone."
        )
    try:
        target.load_state_dict({name: state[name] for name in own if name in state}, strict=False)
    except RuntimeError as error:  # Tensors of a kind that cannot be copied, such as sparse ones.
        raise WeightsError(f"{source} cannot be loaded: {error}") from error


def find_cached_weights(name: str) -> Path:
    """Return where the pretrained weights of a torchvision backbone lie once they are downloaded.

    That is in ``TORCH_HOME``.
    """
    url: str = torchvision.models.get_model_weights(name).DEFAULT.url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _remove_head(model: nn.Module) -> None:
    """Replace the classification layer, so that the model's own forward ends with features."""
    name = next(name for name in _HEAD_NAMES if hasattr(model, name))
    head = getattr(model, name)
    if isinstance(model, torchvision.models.SqueezeNet):
        setattr(model, name, nn.AdaptiveAvgPool2d(1))
    elif isinstance(model, torchvision.models.VGG):
        # All three of its dense layers belong to the classification, as elsewhere one does.
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        setattr(model, name, nn.Identity())
    elif isinstance(head, nn.Linear):
        setattr(model, name, nn.Identity())
    else:
        last = [key for key, layer in head.named_children() if isinstance(layer, nn.Linear)][-1]
        setattr(head, last, nn.Identity())


def _torchvision_input(name: str) -> _Input:
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return (preset.crop_size[0], preset.crop_size[0]), tuple(preset.mean), tuple(preset.std)


def _timm_input(trunk: nn.Module) -> _Input:
    config = resolve_data_config(model=trunk)  # type: ignore[no-untyped-call]
    return config["input_size"][1:], tuple(config["mean"]), tuple(config["std"])


def _torchvision_state(name: str, flag: str) -> Mapping[str, Tensor]:
    weights = torchvision.models.get_model_weights(name)
    default = weights.DEFAULT
    try:
        if not find_cached_weights(name).is_file():
            # The download itself has no time limit, and a firewall may swallow packets.
            urllib.request.urlopen(
                urllib.request.Request(default.url, method="HEAD"), timeout=_CONNECT_SECONDS
            ).close()
        state: Mapping[str, Tensor] = default.get_state_dict(progress=True, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise _no_pretrained(name, error, flag) from error
    return state


def _timm_state(name: str, flag: str) -> Mapping[str, Tensor]:
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:
        raise _no_pretrained(name, error, flag) from error
    return model.state_dict()


def _no_pretrained(name: str, error: Exception, flag: str = WEIGHTS_FLAG) -> WeightsError:
    return WeightsError(
        f"The pretrained weights of {name} are neither in the cache nor to be downloaded "
        f"({error}). Three ways out: (1) go online once, so that they are cached; (2) pass "
        f"{flag} PATH, a safetensors file or state dict; (3) pass {flag} "
        "random, which makes the encoder an untrained control."
    )
