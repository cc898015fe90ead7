"""Penalties whose weight jumps after the first epochs: what IRM, V-REx and Fishr have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from domain_masks.methods.base import Context, Phase
from domain_masks.methods.one_network import OneNetwork

WARM_UP, PENALISED = "warm-up", "penalised"


class WarmedUp(OneNetwork):
    """A loss of classification and a penalty, which gets its weight when the warm-up is over.

    The jump of the gradients would invalidate Adam's averages: as in DomainBed the optimiser is reset there. The
    model is an epoch after the jump; DomainBed can also choose one before it. There the warm-up is counted in steps (500 of
    5000), here it is a share of the epochs.

    - ``settings.penalty_weight``, ``settings.warm_up``, ``settings.after_the_jump``
    """

    weight_before: ClassVar[float] = 1.0
    """Weight of the penalty during the warm-up."""

    is_penalised: Tensor

    def __init__(self, backbone: nn.Module, context: Context, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        self.register_buffer("is_penalised", torch.zeros(()))

    def training_only(self) -> tuple[str, ...]:
        """Return the name of the note that the warm-up is over."""
        return ("is_penalised",)

    def phases(self) -> Sequence[Phase]:
        """Return the warm-up, if there is one, and what comes after it."""
        share = self.settings.warm_up
        if not share:
            return (Phase(PENALISED),)
        return (Phase(WARM_UP, share, selects=False), Phase(PENALISED, 1 - share, fresh_optimizers=True))

    def begin_phase(self, name: str) -> None:
        """Note whether the warm-up is over."""
        self.is_penalised.fill_(name == PENALISED)

    def penalised(self, classification: Tensor, penalty: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss with the weight that the penalty has now."""
        before, after = self.weight_before, self.settings.penalty_weight
        weight = before + self.is_penalised * (after - before)
        terms = {"classification": classification, "penalty": weight * penalty}
        if self.settings.after_the_jump == "loss":
            return terms
        return {name: term / weight.clamp(min=1.0) for name, term in terms.items()}
