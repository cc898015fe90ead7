"""Means over the images of an epoch and all processes; an interrupted epoch is resumed with its sums so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor

from domain_masks.devices import exact

LOSS_TERM = "loss/"
LOGGED = "log/"


@dataclass
class Total:
    """A sum over a number of images."""

    total: float
    rows: int

    @property
    def mean(self) -> float:
        """The mean over the images."""
        return self.total / max(1, self.rows)


class EpochMeans:
    """Accumulates the numbers of an epoch's steps, each weighted by the images of its step.

    - ``before``: the sums over all processes until the epoch was interrupted
    """

    def __init__(self, fabric: Fabric, before: Mapping[str, Total]) -> None:
        self._fabric = fabric
        self._before = dict(before)
        # On the device, so that no step synchronises with the host.
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, int] = {}

    def add(self, name: str, value: Tensor, rows: int) -> None:
        """Add a step's number, the mean over its ``rows``."""
        self._sums[name] = self._sums.get(name, 0.0) + exact(value.detach()) * rows
        self._rows[name] = self._rows.get(name, 0) + rows

    def totals(self) -> dict[str, Total]:
        """Return the sums over all processes, which call it together."""
        here = {name: (float(value), self._rows[name]) for name, value in self._sums.items()}
        everywhere = [here]
        if self._fabric.world_size > 1:
            everywhere = [{} for _ in range(self._fabric.world_size)]
            torch.distributed.all_gather_object(everywhere, here)
        totals = {name: Total(value.total, value.rows) for name, value in self._before.items()}
        for part in everywhere:
            for name, (value, rows) in part.items():
                total = totals.setdefault(name, Total(0.0, 0))
                total.total += value
                total.rows += rows
        return totals
