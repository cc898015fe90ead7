"""Sums over the processes that share a batch, differentiable to any order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def process_count() -> int:
    """Return how many processes share each batch."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of each is the sum of all gradients, to any order."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Any:
        return sum_over_processes(gradients[0])


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of ``values`` over all processes, which call it together with tensors of one shape.

    Its gradient is that of the sum of the losses of all processes.
    """
    if process_count() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


def stacked(values: Tensor) -> Tensor:
    """Return the tensors (P, ...) of all P processes, which call it together with tensors of one shape; without gradients."""
    parts = [torch.empty_like(values) for _ in range(process_count())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.stack(parts)


def gathered(rows: Tensor, first: int, total: int) -> Tensor:
    """Return the rows (total, ...) of all processes, each of which contributes its own from row ``first`` on.

    All processes call it together. Its gradient is that of the sum of the losses of all processes.
    """
    if process_count() == 1:
        return rows
    before, after = rows.new_zeros(first, *rows.shape[1:]), rows.new_zeros(total - first - len(rows), *rows.shape[1:])
    placed = torch.cat([before, rows, after])
    return sum_over_processes(placed.byte()).bool() if placed.dtype == torch.bool else sum_over_processes(placed)
