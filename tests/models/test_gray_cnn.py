"""The small CNN without colour."""

from __future__ import annotations

import torch
from torch import nn

from models.fusion import count_parameters
from models.gray_cnn import GrayCnn


def test_gray_cnn_stays_below_100_000_parameters_for_all_sets():
    assert count_parameters(GrayCnn(5)) == (79_381, 0)
    assert count_parameters(GrayCnn(15)) == (80_351, 0)


def test_logits_have_one_value_a_class_at_its_size_and_at_others():
    model = GrayCnn(8)
    assert model.input_size == (96, 96)
    for height, width in (model.input_size, (64, 64), (60, 80), (16, 16)):
        assert model(torch.rand(2, 3, height, width)).shape == (2, 8)


def test_only_luminance_counts():
    torch.manual_seed(0)
    model = GrayCnn().eval()
    images = torch.rand(2, 3, 96, 96) * 0.5
    luminance = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    gray = luminance.expand(-1, 3, -1, -1)
    assert torch.allclose(model(images), model(gray), atol=1e-4)
    assert not torch.allclose(model(images), model(images * 1.5), atol=1e-3)


def test_the_trunk_sees_centred_gray_values():
    model = GrayCnn().eval()
    seen = []
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.full((1, 3, 96, 96), 0.75))
    assert seen[0].shape == (1, 1, 96, 96)
    assert torch.allclose(seen[0], torch.ones(1), atol=1e-3)


def test_it_tells_textures_of_equal_mean_apart():
    torch.manual_seed(0)
    model = GrayCnn(2)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    fine, coarse = ((rows + columns) % 2).float(), ((rows // 4 + columns // 4) % 2).float()
    images = torch.stack([fine, coarse] * 4).unsqueeze(1).expand(-1, 3, -1, -1)
    images = (images * 0.5 + 0.2 * torch.rand(images.shape)).clamp(0, 1)
    labels = torch.tensor([0, 1] * 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
