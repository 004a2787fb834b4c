"""Our way gives what the plain way gives: packed images, stored features, layout, precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from datasets.cells import open_cells
from datasets.images import ImageDataset
from datasets.taxonomy import WBC_CLASSES
from experiments.benchmarks import ours, plain
from experiments.benchmarks.clock import StageClock
from experiments.benchmarks.jobs import Job, build_autoencoder, build_base, build_networks
from experiments.benchmarks.pictures import draw_cells
from experiments.classifiers import train_classifier
from experiments.options import RunOptions
from models.registry import FusionSpec
from models.wbc_cnn import WbcCnn
from trainers.device import launch_fabric

LAYOUT_TOLERANCE = 1e-5
HALF_TOLERANCE = 1e-3
"""Of features stored in half precision."""
BFLOAT16_TOLERANCE = 0.02


def logits_of_plain(job: Job, *, fused: bool) -> torch.Tensor:
    """Decoded images, 32 bit, default layout, frozen networks run."""
    clock = StageClock(torch.device("cpu"))
    images, _ = next(iter(plain.make_loader(job, plain.FUSED_SIZES, clock, shuffle=False)))
    with torch.no_grad():
        if not fused:
            return plain.use_source_order(build_base(job.seed)).eval()(images[2])
        networks = plain.build_plain(job.seed)
        return networks.fused.eval()(images[2], plain.run_frozen(networks, images))


def logits_of_ours(job: Job, *, fused: bool) -> torch.Tensor:
    """Packed images, stored features, channels last, the job's precision."""
    fabric = launch_fabric("cpu", job.precision, job.seed)
    samples = ours.read_samples(job)
    networks = build_networks(job.seed)
    features = ours.extract(fabric, job, networks.encoders, samples, job.work_dir) if fused else {}
    data = ImageDataset(samples, WBC_CLASSES, WbcCnn.input_size, features)
    model = networks.fused if fused else build_base(job.seed)
    return ours.make_trainer(job, fabric, model, data, []).evaluate(data).values


@pytest.mark.parametrize(
    ("fused", "precision", "tolerance"),
    [
        (False, "32-true", LAYOUT_TOLERANCE),
        (True, "32-true", HALF_TOLERANCE),
        (False, "bf16-mixed", BFLOAT16_TOLERANCE),
        (True, "bf16-mixed", BFLOAT16_TOLERANCE),
    ],
)
def test_logits_of_both_ways_agree(job: Job, fused: bool, precision: str, tolerance: float):
    expected = logits_of_plain(job, fused=fused)
    found = logits_of_ours(replace(job, precision=precision), fused=fused)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert expected.abs().max() > 3 * tolerance, "all small: equality shows nothing"


@pytest.mark.usefixtures("_untimed")
def test_a_training_step_of_both_ways_has_the_same_loss_and_gradient(job: Job):
    networks = plain.build_plain(job.seed)
    images, labels = next(iter(plain.fused_training(job, networks).loader))
    # Rounded here too: batch norm over two images makes much of little in the gradient.
    features = {n: f.half().float() for n, f in plain.run_frozen(networks, images).items()}
    loss = functional.cross_entropy(networks.fused(images[2], features), labels)
    loss.backward()
    gradients = [p.grad for p in networks.fused.parameters() if p.grad is not None]
    expected = torch.nn.utils.get_total_norm(gradients)

    fabric = launch_fabric("cpu", "32-true", job.seed)
    samples = ours.read_samples(job)
    fresh = build_networks(job.seed)
    features = ours.extract(fabric, job, fresh.encoders, samples, job.work_dir)
    data = ImageDataset(samples, WBC_CLASSES, WbcCnn.input_size, features)
    trainer = ours.make_trainer(job, fabric, fresh.fused, data, [])
    trainer.fit()
    assert trainer.loss == pytest.approx(loss.item(), abs=1e-4)
    assert trainer.gradient_norm == pytest.approx(expected.item(), rel=1e-2)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_pooling_before_relu_changes_no_bit_of_outputs_or_gradients(precision: torch.dtype):
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    for build in (build_base, build_autoencoder):
        ours_model, source = build(0), plain.use_source_order(build(0))
        assert [type(m) for m in ours_model.modules()] != [type(m) for m in source.modules()]
        assert list(ours_model.state_dict()) == list(source.state_dict())
        found = []
        for model in (ours_model, source):
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                outputs = model(images)
            outputs.float().square().sum().backward()
            found.append([outputs, *(parameter.grad for parameter in model.parameters())])
        for ours_value, source_value in zip(*found, strict=True):
            assert torch.equal(ours_value, source_value)


@pytest.mark.slow
def test_half_precision_learns_as_well_over_three_seeds(drawn: Path, tmp_path: Path):
    cells = open_cells(draw_cells(drawn, 200, 64, 0, pack=False), 100)
    accuracies: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
    for precision, found in accuracies.items():
        for seed in range(3):
            options = RunOptions(
                data_root=drawn, runs_root=tmp_path / precision, seed=seed, device="cpu",
                precision=precision, batch_size=8,
            )  # fmt: skip
            run = train_classifier(
                options, Path("base", f"seed-{seed}"), cells, FusionSpec(cnn_channels=16),
                options.trainer_config(16),
            )  # fmt: skip
            found.append(run.summary["test"]["accuracy"])
    means = [sum(found) / len(found) for found in accuracies.values()]
    assert min(means) > 0.9, "hardly learnt: equality shows nothing"
    assert means[0] == pytest.approx(means[1], abs=0.05), accuracies
