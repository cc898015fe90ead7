"""What a method may ask of the loop that trains it, and the phases that it may divide its training into."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from domain_masks.batch import DomainBatch


@dataclass(frozen=True)
class Phase:
    """A stage of training.

    - ``name``: what ``engine.phase`` says while it runs
    - ``share``: of the epochs, in (0, 1]; the shares of all phases add up to 1, and every phase has one epoch at least
    - ``selects``: whether its epochs can be the best one, whose weights are the model. The model is always of the last phase
      that selects, and patience counts in that phase alone
    - ``fresh_optimizers``: whether it begins without what the optimisers remember (momentum, Adam's averages)
    """

    name: str = "train"
    share: float = 1.0
    selects: bool = True
    fresh_optimizers: bool = False


class Engine(Protocol):
    """What a method may ask of the loop that trains it; implemented once, so that no method knows the loop."""

    @property
    def epoch(self) -> int:
        """Index of the running epoch, from 0."""

    @property
    def global_step(self) -> int:
        """Index of the running step over all epochs, from 0."""

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""

    @property
    def phase(self) -> str:
        """Name of the running :class:`Phase`."""

    def backward(
        self, loss: Tensor, batch: DomainBatch, only: Collection[str] | None = None, retain: bool = False
    ) -> None:
        """Add the gradients of a loss that is a mean over ``batch``; scaled for accumulation, processes and precision.

        - ``only``: the optimisers whose parameters get gradients; those of all others are left as they are. None: all
        - ``retain``: keep the graph, for another loss of the same forward pass
        """

    def update(self, *optimizers: str) -> None:
        """Clip, step and clear the named optimisers (all, where none is named), once enough batches are accumulated.

        Gradients of optimisers that a step does not update are dropped at its end.
        """

    def log(self, name: str, value: Tensor | float) -> None:
        """Note a number for ``metrics.csv``, where its mean over the epoch is ``log/NAME``; it is no part of the loss."""

    def reduce(self, value: Tensor) -> Tensor:
        """Return the mean of ``value`` over all processes."""
