"""The weights that SWAD averages: those between the start and the end of a valley of the validation loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from domain_masks.training.parameter_average import ParameterAverage


@dataclass(frozen=True)
class Segment:
    """The mean of the weights between two evaluations of the validation loss.

    - ``loss``: of the weights at its end, on the sources' validation images
    - ``first``, ``last``: its steps, counted from 1 over the whole training
    """

    mean: ParameterAverage
    loss: float
    first: int
    last: int

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for a checkpoint."""
        return {"mean": self.mean.state_dict(), "loss": self.loss, "first": self.first, "last": self.last}

    @classmethod
    def read(cls, state: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> Segment:
        """Return what :meth:`state_dict` returned, on the devices of the ``parameters`` that it averages."""
        mean = ParameterAverage.read(state["mean"]).to(parameters)
        return cls(mean, float(state["loss"]), int(state["first"]), int(state["last"]))


class LossValley:
    """Finds the weights that SWAD averages (Cha et al., NeurIPS 2021, Algorithm 1), segment by segment.

    The valley starts at the first of ``patience`` losses in a row of which none is lower; it ends where each of
    ``overfit_patience`` losses in a row is above ``tolerance`` times the mean of the losses that started it, and these segments
    are not part of it. Where training ends first, the segments since the last loss that was not above are left out, as in the
    authors' code; where no valley was found, only the last segment is used, as there. Every segment counts once: the authors'
    code counts the first one of the valley up to three times.

    - ``patience``: N_s; ``overfit_patience``: N_e; ``tolerance``: r, 1 or more
    """

    def __init__(self, patience: int = 3, overfit_patience: int = 6, tolerance: float = 1.3) -> None:
        self.patience = patience
        self.overfit_patience = overfit_patience
        self.tolerance = tolerance
        self.threshold: float | None = None
        self.has_ended = False
        self._mean: Segment | None = None
        self._open: list[Segment] = []

    @property
    def has_started(self) -> bool:
        """Whether the start of a valley was found."""
        return self.threshold is not None

    def add(self, segment: Segment) -> None:
        """Add the next segment of the training; ignored where the valley has ended."""
        if self.has_ended:
            return
        self._open.append(segment)
        losses = [_loss(segment) for segment in self._open]
        if self.threshold is None:
            self._open = self._open[-self.patience :]
            losses = losses[-self.patience :]
            if len(losses) < self.patience or losses[0] > min(losses) or math.isinf(sum(losses)):
                return
            self.threshold = self.tolerance * sum(losses) / len(losses)
        elif len(losses) == self.overfit_patience and min(losses) > self.threshold:
            # The valley's first loss is not above the threshold: a window that contains it cannot end the valley.
            self.has_ended, self._open = True, []
        while len(self._open) >= self.overfit_patience:
            self._mean = _joined(self._mean, self._open.pop(0))

    def current(self) -> Segment | None:
        """Return the mean over the valley so far, as if training ended here; None without any segment."""
        if self.threshold is None:
            return self._open[-1] if self._open else None
        low = [index for index, segment in enumerate(self._open) if _loss(segment) <= self.threshold]
        mean = self._mean
        for segment in self._open[: low[-1] + 1] if low else ():
            mean = _joined(mean, segment)
        return mean

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for a checkpoint."""
        return {
            "threshold": self.threshold,
            "has_ended": self.has_ended,
            "mean": None if self._mean is None else self._mean.state_dict(),
            "open": [segment.state_dict() for segment in self._open],
        }

    def load_state_dict(self, state: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> None:
        """Load what :meth:`state_dict` returned, on the devices of the ``parameters`` that are averaged."""
        self.threshold, self.has_ended = state["threshold"], bool(state["has_ended"])
        self._mean = None if state["mean"] is None else Segment.read(state["mean"], parameters)
        self._open = [Segment.read(segment, parameters) for segment in state["open"]]


def _loss(segment: Segment) -> float:
    return math.inf if math.isnan(segment.loss) else segment.loss


def _joined(first: Segment | None, second: Segment) -> Segment:
    if first is None:
        return second
    return Segment(first.mean.joined(second.mean), second.loss, first.first, second.last)
