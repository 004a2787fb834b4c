"""Where a classifier looks, and what its layers see: Grad-CAM and feature maps as pictures."""

# B batch, C channels, H W height width

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from captum.attr import LayerGradCam
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from datasets.errors import DatasetError
from datasets.files import write_whole
from datasets.images import read_image
from experiments.reporting.canvas import Picture
from experiments.reporting.figures_predictions import draw_feature_maps, draw_heatmap
from experiments.reporting.predictions import PredictionReport
from models.fusion import FusionModel
from models.registry import input_size_of
from trainers.device import hide_bars
from trainers.prediction import Batch, Predictor

_BATCH: Final = 8
_MAX_STEM: Final = 60
_POOLS: Final = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.Identity, nn.Dropout
)  # fmt: skip


@dataclass(frozen=True)
class _Layer:
    """A layer that gives one map (B, C, H, W) an image; frozen ones bear no gradient."""

    module: nn.Module
    has_gradient: bool


def write_explanations(
    predictor: Predictor, report: PredictionReport, folder: Path, layer: str, number: int
) -> int:
    """Write a Grad-CAM overlay for each of the first `number` readable images.

    Args:
        predictor: That made the predictions.
        report: The predictions.
        folder: Gets one PNG an image, ``0001-<name>.png`` and so on.
        layer: Whose map is weighed, see `find_cam_layer`.
        number: At most so many pictures.

    Returns:
        The number of pictures written.

    Raises:
        UnreadableImageError: An image has gone meanwhile.
    """
    index_of = {name: index for index, name in enumerate(predictor.classes)}
    written = 0
    for paths, images, batch in _read(predictor, report.readable[:number], "explaining"):
        best = [report.rank(path)[0] for path in paths]
        heat = grad_cam(predictor, batch, layer, [index_of[name] for name, _ in best])
        for path, image, values, (name, prob) in zip(paths, images, heat, best, strict=True):
            written += 1
            caption = f"{name} {prob:.2f}"
            picture = draw_heatmap(
                image,
                _enlarge(values, image.shape),
                caption,
                f"Grad-CAM of {layer}",
                is_synthetic=report.info["synthetic"],
            )
            _write_picture(folder, written, path, picture)
    return written


def write_feature_maps(
    predictor: Predictor, report: PredictionReport, folder: Path, layer: str, number: int
) -> int:
    """Write a sheet of the maps of `layer` for each of the first `number` readable images.

    Raises:
        UnreadableImageError: An image has gone meanwhile.
    """
    written = 0
    for paths, images, batch in _read(predictor, report.readable[:number], "feature maps"):
        maps = feature_maps(predictor, batch, layer)
        for path, image, values in zip(paths, images, maps.numpy(), strict=True):
            written += 1
            name, prob = report.rank(path)[0]
            picture = draw_feature_maps(
                image, values, f"{name} {prob:.2f}", layer, is_synthetic=report.info["synthetic"]
            )
            _write_picture(folder, written, path, picture)
    return written


def grad_cam(predictor: Predictor, batch: Batch, layer: str, targets: Sequence[int]) -> Tensor:
    """Return the heat maps, float (B, H, W) >= 0 on the CPU, of the logits `targets`.

    The layer's maps are weighed with the mean over the map of the logit's gradient, summed over
    channels, and cut at 0 (Selvaraju et al. 2017, equations 1 and 2). In 32 bit throughout.
    """
    model = predictor.model
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # It would overwrite the map.
    own = input_size_of(model)

    def forward(images: Tensor) -> Tensor:
        return predictor.forward({**batch, own: images})

    cam = LayerGradCam(forward, model.get_submodule(layer))
    goal = torch.tensor(targets, device=batch[own].device)
    heat = cam.attribute(batch[own], target=goal, relu_attributions=True)
    assert isinstance(heat, Tensor)
    return heat.detach()[:, 0].float().cpu()


def feature_maps(predictor: Predictor, batch: Batch, layer: str) -> Tensor:
    """Return the maps of `layer`, float (B, C, H, W) on the CPU."""
    seen: list[Tensor] = []
    module = predictor.model.get_submodule(layer)
    hook = module.register_forward_hook(lambda *call: seen.append(call[2].clone()))
    try:
        predictor.predict_batch(batch)
    finally:
        hook.remove()
    return seen[0].float().cpu()


def require_map(predictor: Predictor, layer: str) -> None:
    """Raise if `layer` gives no map to draw.

    Raises:
        DatasetError: The model has no such layer; the message lists those that it has.
    """
    layers = _find_layers(predictor)
    if layer not in layers:
        raise DatasetError(_no_layer("--feature-maps", layer, layers))


def find_cam_layer(predictor: Predictor, layer: str | None) -> str:
    """Return `layer`, or the last map of the convolutional network that is no pooling.

    Raises:
        DatasetError: There is no such layer, or none that a gradient reaches.
    """
    layers = {name: entry for name, entry in _find_layers(predictor).items() if entry.has_gradient}
    if not layers:
        raise DatasetError(
            "--explain: no gradient reaches a feature map of this model, since its convolutions "
            "are frozen or it has none."
        )
    if layer is not None:
        if layer not in layers:
            raise DatasetError(_no_layer("--layer", layer, layers))
        return layer
    # The votes on encoders' features come later, but it is the cell CNN that sees the cell.
    part = "wbc_cnn." if isinstance(predictor.model, FusionModel) else ""
    maps = [n for n, entry in layers.items() if n.startswith(part) and not _is_pool(entry.module)]
    return (maps or list(layers))[-1]


def _find_layers(predictor: Predictor) -> dict[str, _Layer]:
    """Return by name, in the order in which they end, the layers that give one map an image.

    A layer that runs several times in one forward has several maps and is left out.
    """
    names = {module: name for name, module in predictor.model.named_modules() if name}
    calls: Counter[str] = Counter()
    found: dict[str, _Layer] = {}

    def record(module: nn.Module, _: Any, output: Any) -> None:
        name = names[module]
        calls[name] += 1
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1:
            found[name] = _Layer(module, output.requires_grad)

    hooks = [module.register_forward_hook(record) for module in names]
    try:
        with torch.enable_grad():
            predictor.forward(predictor.collate([predictor.resize(Image.new("RGB", (8, 8)))]))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: layer for name, layer in found.items() if calls[name] == 1}


def _read(
    predictor: Predictor, paths: Sequence[Path], title: str
) -> Iterator[tuple[Sequence[Path], list[Picture], Batch]]:
    """Yield paths, images and collated batches."""
    with tqdm(total=len(paths), desc=title, unit="image", disable=hide_bars()) as bar:
        for start in range(0, len(paths), _BATCH):
            part = paths[start : start + _BATCH]
            images = [read_image(path) for path in part]
            batch = predictor.collate([predictor.resize(image) for image in images])
            yield part, [np.asarray(image) for image in images], batch
            bar.update(len(part))


def _is_pool(module: nn.Module) -> bool:
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return isinstance(module, _POOLS)


def _no_layer(flag: str, layer: str, layers: dict[str, _Layer]) -> str:
    return f"{flag} {layer!r} is no map of this model. Choose one of: {', '.join(layers)}."


def _enlarge(heat: Tensor, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a heat map (H, W) at the image's size, its largest value 1 (or 0 if all are 0)."""
    size = (shape[0], shape[1])
    large = functional.interpolate(heat[None, None], size, mode="bilinear", align_corners=False)
    values: np.ndarray[Any, np.dtype[np.float32]] = large[0, 0].numpy()
    return values / max(float(values.max()), 1e-12)


def _write_picture(folder: Path, number: int, path: Path, picture: Picture) -> None:
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem)[:_MAX_STEM]
    with write_whole(folder / f"{number:04d}-{stem}.png") as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
