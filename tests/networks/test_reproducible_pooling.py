"""Adaptive average pooling for deterministic mode on a GPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from domain_masks.networks import build_backbone
from domain_masks.networks.reproducible_pooling import (
    ReproducibleAdaptiveAvgPool2d,
    averaged_cells,
    reproducible_pooling,
)


@pytest.mark.parametrize("side", [(4, 4), (6, 6), (7, 5), (2, 3), (13, 1)])
@pytest.mark.parametrize("cells", [(1, 1), (2, 2), (6, 6), (3, 4)])
def test_cells_are_those_of_pytorch(side: tuple[int, int], cells: tuple[int, int]) -> None:
    values = torch.randn(3, 5, *side, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(3, 5, *cells, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    results = [averaged_cells(values, *cells), functional.adaptive_avg_pool2d(values, cells)]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad((one * weight).sum(), values)[0] for one in results))


@pytest.mark.parametrize("backbone", ["small", "alexnet", "resnet18"])
def test_networks_compute_the_same(backbone: str) -> None:
    network = build_backbone(backbone, 3).eval()
    other = reproducible_pooling(copy.deepcopy(network))
    pools = [module for module in other.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    assert pools
    assert all(type(pool) is ReproducibleAdaptiveAvgPool2d for pool in pools)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), other(images))
    assert network.state_dict().keys() == other.state_dict().keys()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("size", [2, (3, None), (6, 6)])
def test_gradients_are_allowed_in_deterministic_mode(size: int | tuple[int | None, int | None]) -> None:
    values = torch.randn(2, 3, 7, 5, device="cuda").requires_grad_()
    expected = nn.AdaptiveAvgPool2d(size)(values)
    pool = ReproducibleAdaptiveAvgPool2d(size)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        pooled = pool(values)
        pooled.sum().backward()
    finally:
        torch.use_deterministic_algorithms(before)
    torch.testing.assert_close(pooled, expected)
