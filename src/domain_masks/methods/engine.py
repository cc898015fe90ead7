"""The interface between a method and the training loop: optimisers, phases, and the engine of a step."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError, combine_errors


@dataclass(frozen=True)
class Optimizer:
    """An optimiser of a method; fields that are None are taken from the run's settings.

    - ``groups``: names of the parameter groups that it updates
    - ``kind``: ``adam``, ``adamw`` or ``sgd``
    - ``lr``: learning rate, above 0; ``--lr_head`` and ``--lr_masks`` take precedence for the groups ``head`` and ``masks``
    - ``momentum``: for sgd only, in [0, 1)
    - ``weight_decay``: 0 or more

    Raises InputError for values out of range.
    """

    groups: tuple[str, ...]
    kind: Literal["adam", "adamw", "sgd"] | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        wrong = []
        if self.kind not in (None, "adam", "adamw", "sgd"):
            wrong.append(f"expected the kind of an optimiser to be adam, adamw or sgd, got {self.kind!r}")
        if self.lr is not None and not 0 < self.lr < float("inf"):
            wrong.append(f"expected the learning rate of an optimiser to be above 0, got {self.lr}")
        if self.momentum is not None and self.kind in ("adam", "adamw"):
            wrong.append(f"expected no momentum for {self.kind}, which has none, got {self.momentum}")
        elif self.momentum is not None and not 0 <= self.momentum < 1:
            wrong.append(f"expected the momentum of an optimiser to be in [0, 1), got {self.momentum}")
        if self.weight_decay is not None and not 0 <= self.weight_decay < float("inf"):
            wrong.append(f"expected the weight decay of an optimiser to be 0 or more, got {self.weight_decay}")
        if wrong:
            raise combine_errors(wrong) if len(wrong) > 1 else InputError(wrong[0])


@dataclass(frozen=True)
class Phase:
    """A phase of training.

    - ``name``: value of ``engine.phase`` during the phase
    - ``share``: fraction of the epochs, in (0, 1]; the shares of all phases sum to 1, and every phase has at least one epoch
    - ``selects``: whether the best epoch, whose weights are the model, can be one of its epochs. The model is always from the
      last phase that selects, and patience counts in that phase alone
    - ``fresh_optimizers``: whether the state of the optimisers (momentum, Adam's averages) is reset at its start
    """

    name: str = "train"
    share: float = 1.0
    selects: bool = True
    fresh_optimizers: bool = False


class Engine(Protocol):
    """The training loop's interface for methods; implemented once, so that no method depends on the loop."""

    @property
    def epochs(self) -> int:
        """Planned number of epochs; patience or a time limit may end training earlier."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps per epoch."""

    @property
    def steps(self) -> int:
        """Planned number of steps of the whole training."""

    @property
    def epoch(self) -> int:
        """Index of the current epoch, from 0."""

    @property
    def global_step(self) -> int:
        """Index of the current step over all epochs, from 0."""

    @property
    def progress(self) -> float:
        """Completed fraction of training, in [0, 1]."""

    @property
    def phase(self) -> str:
        """Name of the current :class:`Phase`."""

    def rate(self, group: str) -> float:
        """Return the learning rate of a parameter group in the current step."""

    def backward(
        self, loss: Tensor, batch: DomainBatch, only: Collection[str] | None = None, retain: bool = False
    ) -> None:
        """Add the gradients of a loss that is a mean over ``batch``, scaled for accumulation, processes and precision.

        - ``only``: the optimisers whose parameters get gradients; gradients of the others do not change. None: all
        - ``retain``: keep the graph for another loss of the same forward pass
        """

    def update(self, *optimizers: str) -> None:
        """Clip gradients, step and clear the named optimisers (by default all) once enough batches are accumulated.

        Gradients of optimisers that a step does not update are discarded at its end.
        """

    def require(self, value: Tensor, limit: float, batch: DomainBatch, message: Callable[[float], str]) -> None:
        """Raise DivergedError with ``message(value)`` where ``value``, one number, is above ``limit`` or not finite.

        On an accelerator not at once, as the host would wait for it, but before anything is saved.
        """

    def log(self, name: str, value: Tensor | float) -> None:
        """Log a value, which is not part of the loss; ``metrics.csv`` has its mean over the epoch as ``log/NAME``."""

    def reduce(self, value: Tensor) -> Tensor:
        """Return the mean of ``value`` over all processes, which must call it together; differentiable to any order."""
