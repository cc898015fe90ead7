"""Adaptive average pooling whose gradient on a GPU is the same every time, which PyTorch's own is not."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReproducibleAdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """``nn.AdaptiveAvgPool2d`` by :func:`averaged_cells` in deterministic mode on a GPU, and as it is elsewhere."""

    def forward(self, values: Tensor) -> Tensor:
        """Return means (..., h, w) of cells of ``values`` (..., H, W)."""
        if not torch.are_deterministic_algorithms_enabled() or values.device.type != "cuda":
            return super().forward(values)
        size = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * 2
        height, width = (had if wanted is None else wanted for wanted, had in zip(size, values.shape[-2:], strict=True))
        return averaged_cells(values, height, width)


def averaged_cells(values: Tensor, height: int, width: int) -> Tensor:
    """Return the means of ``height`` x ``width`` cells of ``values`` (..., H, W), cut as adaptive average pooling cuts them."""
    rows, columns = _cells(values.shape[-2], height), _cells(values.shape[-1], width)
    means = [torch.stack([values[..., row, column].mean((-2, -1)) for column in columns], -1) for row in rows]
    return torch.stack(means, -2)


def _cells(length: int, count: int) -> list[slice]:
    """Return where each of ``count`` cells of ``length`` pixels begins and ends; they overlap unless ``count`` divides it."""
    return [slice(index * length // count, -(-(index + 1) * length // count)) for index in range(count)]


def reproducible_pooling(network: nn.Module) -> nn.Module:
    """Return a network or method whose adaptive average pooling can be used with ``--deterministic`` on a GPU."""
    for module in network.modules():
        if type(module) is nn.AdaptiveAvgPool2d:
            # In place: hooks stay, and so does whatever refers to the module.
            module.__class__ = ReproducibleAdaptiveAvgPool2d
    return network
