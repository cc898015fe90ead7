"""The interface between a method and the training loop: optimisers, phases, and the engine of a step."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError, combine_errors


@dataclass(frozen=True)
class Optimizer:
    """An optimiser of a method; what is None is the run's.

    - ``groups``: names of the parameter groups that it updates
    - ``kind``: ``adam`` or ``sgd``
    - ``lr``: learning rate, above 0; for the groups ``head`` and ``masks`` ``--lr_head`` and ``--lr_masks`` come first
    - ``momentum``: of sgd, in [0, 1)
    - ``weight_decay``: 0 or more

    Raises InputError for values out of range.
    """

    groups: tuple[str, ...]
    kind: Literal["adam", "sgd"] | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        wrong = []
        if self.kind not in (None, "adam", "sgd"):
            wrong.append(f"expected the kind of an optimiser to be adam or sgd, got {self.kind!r}")
        if self.lr is not None and not 0 < self.lr < float("inf"):
            wrong.append(f"expected the learning rate of an optimiser to be above 0, got {self.lr}")
        if self.momentum is not None and self.kind == "adam":
            wrong.append(f"expected no momentum for adam, which has none, got {self.momentum}")
        elif self.momentum is not None and not 0 <= self.momentum < 1:
            wrong.append(f"expected the momentum of an optimiser to be in [0, 1), got {self.momentum}")
        if self.weight_decay is not None and not 0 <= self.weight_decay < float("inf"):
            wrong.append(f"expected the weight decay of an optimiser to be 0 or more, got {self.weight_decay}")
        if wrong:
            raise combine_errors(wrong) if len(wrong) > 1 else InputError(wrong[0])


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
    """The training loop's interface for methods; implemented once, so that no method depends on the loop."""

    @property
    def epochs(self) -> int:
        """Epochs of the whole training as planned; patience or a limit of time may end it before."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of each epoch."""

    @property
    def steps(self) -> int:
        """Steps of the whole training as planned."""

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

    def rate(self, group: str) -> float:
        """Return the learning rate of a parameter group in the running step."""

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
        """Return the mean of ``value`` over all processes, which call it together; gradients flow through, to any order."""
