"""Calls of a method's hooks at the start and end of phases and epochs: each once, also in a run that is resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from domain_masks.methods import Method, Phase
from domain_masks.methods.engine import Engine
from domain_masks.randomness import seeded
from domain_masks.training.phases import PhasePlan


class Hooks:
    """Calls a method's ``begin_phase``, ``begin_epoch`` and ``end_epoch``, with torch's random numbers keyed by seed and place.

    - ``phase_index``: the phase that was started last, -1 before the first one
    - ``started``, ``ended``: how many epochs were started and ended
    """

    def __init__(self, method: Method, seed: int, device: torch.device) -> None:
        self.method = method
        self.phase_index = -1
        self.started = 0
        self.ended = 0
        self._seed = seed
        self._device = device

    def enter_phases(self, plan: PhasePlan, epoch: int) -> Sequence[Phase]:
        """Start the phases up to that of ``epoch`` that were not started yet; returns them, without the method's first one."""
        index = plan.index(epoch)
        entered = range(self.phase_index + 1, index + 1)
        for position in entered:
            self.phase_index = position
            with seeded(self._seed, "phase/begin", position, self._device):
                self.method.begin_phase(plan.phases[position].name)
        return [plan.phases[position] for position in entered if position]

    def begin_epoch(self, epoch: int, engine: Engine) -> None:
        """Start ``epoch`` unless it was started."""
        if epoch >= self.started:
            self.started = epoch + 1
            with seeded(self._seed, "epoch/begin", epoch, self._device):
                self.method.begin_epoch(engine)

    def end_epoch(self, epoch: int, engine: Engine) -> bool:
        """End ``epoch`` unless it was ended; returns whether the hook was called."""
        if epoch < self.ended:
            return False
        self.ended = epoch + 1
        with seeded(self._seed, "epoch/end", epoch, self._device):
            self.method.end_epoch(engine)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return which phases and epochs were started and ended."""
        return {"phase": self.phase_index, "epochs_begun": self.started, "epochs_ended": self.ended}

    def load_state_dict(self, state: Mapping[str, Any], plan: PhasePlan, epochs_begun: int) -> None:
        """Load what :meth:`state_dict` returned; what older versions did not save is derived from ``epochs_begun``."""
        self.phase_index = state.get("phase", plan.index(max(0, epochs_begun - 1)))
        self.started = state.get("epochs_begun", epochs_begun)
        self.ended = state.get("epochs_ended", epochs_begun)
