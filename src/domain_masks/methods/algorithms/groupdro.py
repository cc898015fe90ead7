"""GroupDRO: minimise the worst-case mixture of the sources' risks, with online weights (Sagawa et al., ICLR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import Context, Engine, labels_of
from domain_masks.methods.descriptions.risk import DescribedGroupDRO, GroupDROSettings
from domain_masks.methods.one_network import OneNetwork, by_domain, mean_weights


def moved_weights(log_weights: Tensor, risks: Tensor, step_size: float) -> Tensor:
    """Return log q after a step of exponentiated gradient ascent on the weights q (Algorithm 1): (D,), (D,) -> (D,).

    Logarithms, because a weight that underflows to 0 could never increase again.
    """
    return (log_weights + step_size * risks).log_softmax(0)


class GroupDRO(DescribedGroupDRO, OneNetwork):
    """Weights the sources' risks by q, which each batch multiplies by exp(η · risk) and normalises to sum 1.

    Sources are sampled equally often, as in Algorithm 1. The adjustment by group size of the authors' code
    (``generalization_adjustment``, off by default) is not implemented.
    """

    log_weights: Tensor

    def __init__(self, backbone: nn.Module, context: Context, settings: GroupDROSettings) -> None:
        super().__init__(backbone, context, settings)
        count = len(context.sources)
        self.register_buffer("log_weights", torch.full((count,), 1 / count).log())
        self._moved = self.log_weights

    def training_only(self) -> tuple[str, ...]:
        """Return the name of the sources' weights."""
        return ("log_weights",)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the sum of the sources' risks, weighted by the updated weights."""
        losses = batch.gather(self.classification_loss(self.logits(batch), labels_of(batch), reduction="none"))
        risks = mean_weights(by_domain(batch, self.context.sources), losses) @ losses
        self._moved = moved_weights(self.log_weights, risks.detach().float(), self.settings.step_size)
        return {"classification": self._moved.exp() @ risks}

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one batch and store the updated weights."""
        terms = super().step(batch, engine)
        self.log_weights.copy_(self._moved)
        for source, weight in zip(self.context.sources, self.log_weights.exp(), strict=True):
            engine.log(f"weight/{source}", weight)
        return terms
