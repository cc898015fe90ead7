"""The average of a run's weights, which is validated, selected and saved in their place: ``--average ema|swa|swad``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from domain_masks.methods import Method
from domain_masks.methods.tensor_files import load_tensors
from domain_masks.records.config import RunConfig
from domain_masks.records.counts import counted
from domain_masks.training.loss_valley import LossValley, Segment
from domain_masks.training.parameter_average import ParameterAverage, Step

LOOKS = 50
"""The number of segments of a phase for SWAD where no interval is set: as the authors' 100 of 5,000 steps."""


class WeightAverage:
    """The average of the parameters that a run trains; it does not change how they are trained.

    - ``ema``: after every update of an optimiser, decay × the average + (1 - decay) × its parameters, from the first update on
    - ``swa``: the mean over all updates from ``average_start`` of the phase's steps on (Izmailov et al., UAI 2018, densely as
      Cha et al. and Arpit et al. do)
    - ``swad``: the mean over all updates between start and end of a valley of the validation loss; see
      :class:`~domain_masks.training.loss_valley.LossValley`

    An average is updated exactly when an optimiser has taken a step: not per batch while gradients are accumulated, not where
    a gradient scaler skips a step, and separately for each of several optimisers. It restarts with each phase.

    Mask logits are averaged like all parameters: they are what the optimiser updates. Probabilities are the sigmoid of the
    averaged logits, and a hard mask is 1 where these are above 0. An average of hard masks would not be a mask, and one of
    probabilities differs little from this where a logit changes little.

    - ``trained``: optimiser -> its parameters
    """

    def __init__(self, method: Method, config: RunConfig, trained: Mapping[str, Sequence[nn.Parameter]]) -> None:
        names = {id(parameter): name for name, parameter in method.named_parameters()}
        self.method = method
        self.config = config
        self.training_state: Mapping[str, Any] | None = None
        """The state that training continues with, while the method holds the average; else None."""
        self.measured: Mapping[str, Any] | None = None
        """The state of the method with the average, as it was validated last."""
        self._parameters = {
            optimizer: {names[id(parameter)]: parameter for parameter in group} for optimizer, group in trained.items()
        }
        self._all = {name: parameter for group in self._parameters.values() for name, parameter in group.items()}
        self.restart(0)

    def restart(self, step: int) -> None:
        """Restart at ``step``, the first of a phase. Steps are counted from 0 over the whole training."""
        config = self.config
        self._average = ParameterAverage()
        self._first, self._last = 0, 0
        self._segment_begins = step
        self._valley = LossValley(config.average_patience, config.average_overfit_patience, config.average_tolerance)

    def update(self, optimizer: str, step: int, phase: range) -> None:
        """Add the parameters of an optimiser that has just updated them in ``step`` of a phase of the steps ``phase``."""
        if self._valley.has_ended or not self.has_started(step, phase):
            return
        self._first = self._first or step + 1
        self._last = step + 1
        self._average.add(optimizer, self._parameters[optimizer], self._function(len(phase)))

    def _function(self, steps: int) -> Step:
        if self.config.average == "ema":
            return get_ema_multi_avg_fn(decay_of(self.config, steps))  # type: ignore[no-any-return, no-untyped-call]
        return get_swa_multi_avg_fn()  # type: ignore[no-any-return, no-untyped-call]

    def has_started(self, step: int, phase: range) -> bool:
        """Whether an update in ``step`` is averaged: for swa from its start on, or if averaging started earlier."""
        if self.config.average != "swa" or self._average.count:
            return True
        return step >= swa_start(self.config, phase)

    def is_due(self, step: int, phase: range) -> bool:
        """Whether the validation loss has to be computed between ``step`` and the next one."""
        if self.config.average != "swad" or self._valley.has_ended or not self._average.count:
            return False
        return step + 1 - self._segment_begins >= interval_of(self.config, len(phase))

    def close_segment(self, loss: float, step: int) -> None:
        """Close the segment with the validation loss of the weights after ``step``."""
        self._valley.add(Segment(self._average, loss, self._first, self._last))
        self._average, self._first, self._last = ParameterAverage(), 0, 0
        self._segment_begins = step + 1

    @property
    def has_ended(self) -> bool:
        """Whether no later update can belong to the average."""
        return self._valley.has_ended

    def _current(self) -> Segment:
        valley = self._valley.current() if self.config.average == "swad" else None
        return valley or Segment(self._average, 0.0, self._first, self._last)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the method within the block; before any update its weights are unchanged."""
        self.training_state = copy.deepcopy(self.method.state_dict())
        try:
            self._current().mean.copy_to(self._all)
            yield
        finally:
            load_tensors(self.method, self.training_state)
            self.training_state = None

    def summary(self) -> dict[str, Any]:
        """Return which steps the average covers so far, as in ``results.json``."""
        current, kind = self._current(), self.config.average
        summary: dict[str, Any] = {"kind": kind, "updates": current.mean.count}
        if current.mean.count:
            summary |= {"first_step": current.first, "last_step": current.last}
        if kind == "swad":
            summary["valley"] = (
                "ended" if self._valley.has_ended else "started" if self._valley.has_started else "not found"
            )
        return summary

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        steps = {"first": self._first, "last": self._last, "segment_begins": self._segment_begins}
        return {"average": self._average.state_dict(), "steps": steps, "valley": self._valley.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self._average = ParameterAverage.read(state["average"]).to(self._all)
        steps = state["steps"]
        self._first, self._last, self._segment_begins = steps["first"], steps["last"], steps["segment_begins"]
        self._valley.load_state_dict(state["valley"], self._all)


def swa_start(config: RunConfig, phase: range) -> int:
    """Return the step from which on ``swa`` averages, in a phase of the steps ``phase``."""
    return phase.start + int(config.average_start * len(phase))


def interval_of(config: RunConfig, steps: int) -> int:
    """Return the number of steps between two evaluations of the validation loss by SWAD, in a phase of ``steps``."""
    return config.average_interval or max(1, steps // LOOKS)


def decay_of(config: RunConfig, steps: int) -> float:
    """Return the decay of ``ema`` in a phase of ``steps``; by default the average is of about the last tenth of its updates."""
    if config.average_decay is not None:
        return config.average_decay
    return min(0.999, max(0.5, 1 - 10 * config.accumulate / steps))


def describe_average(config: RunConfig, steps: int | None = None) -> str:
    """Return a phrase on how the weights of a run are averaged; empty where they are not.

    ``steps`` are those of a phase, where they are known.
    """
    known = "" if steps is None else f" of {steps:,}"
    if config.average == "ema":
        decay = config.average_decay if steps is None else decay_of(config, steps)
        return f"ema with decay {'1 - 10 / steps' if decay is None else f'{decay:.6g}'}"
    if config.average == "swa":
        first = f"{config.average_start:g} of the steps" if steps is None else f"{int(config.average_start * steps):,}"
        return f"swa over the steps after the first {first}{known}"
    if config.average != "swad":
        return ""
    every = f"every {config.average_interval} steps" if config.average_interval else f"{LOOKS} times"
    if steps is not None:
        every = f"every {counted(interval_of(config, steps), 'step')}{known}"
    return f"swad, which looks at the sources' validation loss {every}"
