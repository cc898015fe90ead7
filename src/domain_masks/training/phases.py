"""The epochs of a method's phases: each has at least one, and none is repeated where a resumed run has more epochs."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from domain_masks.errors import InputError
from domain_masks.methods import Method, Phase
from domain_masks.records.config import RunConfig


@dataclass(frozen=True)
class PhasePlan:
    """The phases of a training of ``epochs``; ``starts`` are the first epochs of each, from 0, rising."""

    phases: tuple[Phase, ...]
    starts: tuple[int, ...]
    epochs: int

    def index(self, epoch: int) -> int:
        """Return the index of the phase that ``epoch`` belongs to; epochs after the last one belong to the last phase."""
        return max(0, bisect_right(self.starts, epoch) - 1)

    def phase(self, epoch: int) -> Phase:
        """Return the phase that ``epoch`` belongs to."""
        return self.phases[self.index(epoch)]

    def start(self, epoch: int) -> int:
        """Return the first epoch of the phase that ``epoch`` belongs to."""
        return self.starts[self.index(epoch)]

    def end(self, epoch: int) -> int:
        """Return the first epoch after the phase that ``epoch`` belongs to."""
        later = self.starts[self.index(epoch) + 1 :]
        return later[0] if later else self.epochs

    def decides(self, epoch: int) -> bool:
        """Whether ``epoch`` belongs to the phase that the model comes from."""
        return self.index(epoch) == deciding_phase(self.phases)


def deciding_phase(phases: Sequence[Phase]) -> int:
    """Return the index of the phase that the model comes from: the last one that selects."""
    return max(index for index, phase in enumerate(phases) if phase.selects)


def planned_epochs(config: RunConfig, method: Method) -> int:
    """Return how many epochs a run has; a smoke run has one for each phase."""
    return len(phases_of(method)) if config.fast else config.epochs or 1


def phases_of(method: Method) -> tuple[Phase, ...]:
    """Return a method's phases.

    Raises InputError unless there are some, their shares are above 0 and add up to 1, and one of them selects.
    """
    phases = tuple(method.phases())
    shares = [phase.share for phase in phases]
    if not phases or min(shares) <= 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise InputError(
            f"phases of method {method.name!r}: expected shares above 0 that add up to 1, got {shares or 'no phase'}"
        )
    if not any(phase.selects for phase in phases):
        raise InputError(
            f"phases of method {method.name!r}: expected one that selects the best epoch, got selects=False in all"
        )
    return phases


def plan_phases(method: Method, epochs: int, started: int = 0, before: Sequence[int] = ()) -> PhasePlan:
    """Divide ``epochs`` among the phases of a method by their shares; each gets one at least.

    - ``started``: epochs that are done or running
    - ``before``: the first epochs of the phases as a resumed run had them. Phases that have started keep theirs, so that
      none starts again where there are more epochs than before; the remaining epochs are divided among the others

    Raises InputError where there are not enough epochs for the phases that have not started.
    """
    phases = phases_of(method)
    kept = [start for start in before[: len(phases)] if start < started] or [0]
    ahead = len(phases) - len(kept)
    if epochs - max(started, 1) < ahead:
        needed = max(started, 1) + ahead
        names = ", ".join(phase.name for phase in phases)
        raise InputError(
            f"epochs: method {method.name!r} trains in {len(phases)} phases ({names}), each of one epoch at least: expected "
            f"{needed} or more{f', as {started} have started' if started else ''}, got {epochs}"
        )
    starts, share = list(kept), 0.0
    for index, phase in enumerate(phases[:-1], 1):
        share += phase.share
        if index < len(kept):
            continue
        # The first epoch whose middle lies after the share; rounded, as sums of shares are not exact.
        natural = math.ceil(round(share * epochs - 0.5, 9))
        latest = epochs - (len(phases) - index)
        starts.append(min(max(natural, started, starts[-1] + 1), latest))
    return PhasePlan(phases, tuple(starts), epochs)
