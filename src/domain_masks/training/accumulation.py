"""Gradient accumulation: the mean over all rows of the accumulated batches, whatever their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.processes import stacked


class Accumulation:
    """The accumulated gradients of one optimiser.

    They are kept apart from ``parameter.grad``, so that gradients that a step computes and does not use are never added.

    - ``parameters``: those of the optimiser, in its order
    - ``batches``, ``rows``: how many batches are accumulated, and their rows over all processes
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.batches = 0
        self.rows = 0
        self._sums: list[Tensor | None] = [None] * len(self.parameters)

    def add(self, rows: int) -> None:
        """Add the gradients of the parameters, means over ``rows``, and clear them."""
        for index, parameter in enumerate(self.parameters):
            gradient, parameter.grad = parameter.grad, None
            if gradient is None:
                continue
            before = self._sums[index]
            self._sums[index] = gradient.mul_(rows) if before is None else before.add_(gradient, alpha=rows)
        self.batches += 1
        self.rows += rows

    def assign_mean(self) -> None:
        """Assign the mean over all accumulated rows to the parameters' gradients, and clear the accumulated ones."""
        for parameter, total in zip(self.parameters, self._sums, strict=True):
            parameter.grad = None if total is None else total.div_(self.rows)
        self.batches, self.rows = 0, 0
        self._sums = [None] * len(self.parameters)

    def scale(self, factor: Tensor) -> None:
        """Multiply the accumulated gradients and those of the parameters, which a gradient scaler keeps scaled."""
        for gradient in (*self._sums, *(parameter.grad for parameter in self.parameters)):
            if gradient is not None:
                gradient.mul_(factor)

    def state_dict(self, world_size: int) -> dict[str, Any]:
        """Return the accumulated gradients, stacked over processes where there are several; all of them call it together."""
        sums = self._sums if world_size == 1 else [stacked(value) for value in self._filled()]
        return {"batches": self.batches, "rows": self.rows, "sums": list(sums)}

    def _filled(self) -> list[Tensor]:
        # Every process must contribute the same list, with zeros where a parameter has no gradient here.
        return [
            torch.zeros_like(parameter) if value is None else value
            for parameter, value in zip(self.parameters, self._sums, strict=True)
        ]

    def load_state_dict(self, state: Mapping[str, Any], rank: int, world_size: int, gathered: int) -> None:
        """Load what :meth:`state_dict` returned in a run of ``gathered`` processes."""
        self.batches, self.rows = int(state["batches"]), int(state["rows"])
        for index, (parameter, value) in enumerate(zip(self.parameters, state["sums"], strict=True)):
            if value is None:
                continue
            if gathered > 1:
                # With another number of processes each gets the mean, whose mean over the processes is the same.
                value = value[rank] if gathered == world_size else value.mean(0)  # noqa: PLW2901
            self._sums[index] = value.to(parameter)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average the gradients over all processes; a parameter that has none on any process keeps None."""
    if not parameters:
        return
    # Every process must contribute the same list, with zeros where a parameter has no gradient; flags at its end say which.
    gradients = [
        parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in parameters
    ]
    present = gradients[0].new_tensor([float(parameter.grad is not None) for parameter in parameters])
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), present])
    torch.distributed.all_reduce(flat)
    *parts, counts = torch.split(flat, [*(gradient.numel() for gradient in gradients), len(gradients)])
    for parameter, part, gradient, count in zip(parameters, parts, gradients, counts.tolist(), strict=True):
        parameter.grad = (
            gradient.copy_((part / torch.distributed.get_world_size()).view_as(gradient)) if count else None
        )
