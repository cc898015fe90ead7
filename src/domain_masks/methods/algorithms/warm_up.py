"""Penalties whose weight increases after a warm-up: base of IRM, V-REx and Fishr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from domain_masks.methods.base import Context, Phase
from domain_masks.methods.one_network import OneNetwork

WARM_UP, PENALISED = "warm-up", "penalised"


class WarmedUp(OneNetwork):
    """A classification loss and a penalty that has its full weight after the warm-up.

    The jump in the gradients would invalidate Adam's moving averages, so the optimiser is reset, as in DomainBed. The best
    epoch is selected after the warm-up; DomainBed can also select one before. DomainBed's warm-up is a number of steps (500 of
    5000), here it is a fraction of the epochs.

    Its settings have ``penalty_weight``, ``warm_up`` and ``after_the_jump``.
    """

    weight_before: ClassVar[float] = 1.0
    """Weight of the penalty during the warm-up."""

    is_penalised: Tensor

    def __init__(self, backbone: nn.Module, context: Context, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        self.register_buffer("is_penalised", torch.zeros(()))

    def training_only(self) -> tuple[str, ...]:
        """Return the name of the flag that the warm-up is over."""
        return ("is_penalised",)

    def phases(self) -> Sequence[Phase]:
        """Return the warm-up, unless its share is 0, and the phase with the full penalty."""
        share = self.settings.warm_up
        if not share:
            return (Phase(PENALISED),)
        return (Phase(WARM_UP, share, selects=False), Phase(PENALISED, 1 - share, fresh_optimizers=True))

    def begin_phase(self, name: str) -> None:
        """Store whether the warm-up is over."""
        self.is_penalised.fill_(name == PENALISED)

    def penalised(self, classification: Tensor, penalty: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss with the penalty's current weight."""
        before, after = self.weight_before, self.settings.penalty_weight
        weight = before + self.is_penalised * (after - before)
        terms = {"classification": classification, "penalty": weight * penalty}
        if self.settings.after_the_jump == "loss":
            return terms
        return {name: term / weight.clamp(min=1.0) for name, term in terms.items()}
