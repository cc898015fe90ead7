"""Fishr: gradients of the last layer that vary alike in all sources (Rame, Dancette, Cord, ICML 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.algorithms.warm_up import WarmedUp
from domain_masks.methods.base import Context, Engine, labels_of
from domain_masks.methods.descriptions.alignment import DescribedFishr, FishrSettings
from domain_masks.methods.one_network import OneRepresentedNetwork, by_domain, mean_weights


def gradient_variances(errors: Tensor, inputs: Tensor, rows: Tensor) -> Tensor:
    """Return, per source, the variance of the instances' gradients of a linear layer's weight and bias.

    The gradient of one instance is the outer product of its error and of the input, so that its variance is E[e²x²] - E[ex]²;
    a bias is the weight of an input that is always 1. No instance's gradient is ever held.

    - ``errors``: (N, C), the derivative of each instance's loss by its logits
    - ``inputs``: (N, K), what the layer takes; ``rows``: (D, N), which instances each source has
    - returns: (D, C, K), divided by the number of a source's instances
    """
    means = mean_weights(rows, errors)[:, :, None] * errors
    squares = mean_weights(rows, errors)[:, :, None] * errors.square()
    return squares.transpose(1, 2) @ inputs.square() - (means.transpose(1, 2) @ inputs).square()


class Fishr(DescribedFishr, WarmedUp, OneRepresentedNetwork):
    """Penalises how far the variances of the sources' gradients are from their mean (Equation 4).

    As in DomainBed and the authors' code: the gradients are those of the last layer's weight and bias; the variances are moving
    averages, divided by 1 - γ, so that what flows back does not depend on γ; they move during the warm-up too, in which the
    penalty has the weight 0. The first term is the mean over the batch. The variances are of the images of all processes.
    """

    weight_before = 0.0
    variances: Tensor

    def __init__(self, backbone: nn.Module, context: Context, settings: FishrSettings) -> None:
        super().__init__(backbone, context, settings)
        head = self.linear_head()
        columns = head.in_features + (head.bias is not None)
        self.register_buffer("variances", torch.zeros(len(context.sources), head.out_features, columns))
        self._moved = self.variances

    def training_only(self) -> tuple[str, ...]:
        """Return the names of what only the penalty needs."""
        return (*super().training_only(), "variances")

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy and the weighted penalty."""
        inputs, logits = self.represented(batch)
        losses = self.classification_loss(logits, labels_of(batch), reduction="none")
        (errors,) = torch.autograd.grad(losses.sum(), logits, create_graph=True)
        if self.variances.shape[2] > inputs.shape[1]:
            inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
        rows = by_domain(batch, self.context.sources, 2)
        with torch.autocast(inputs.device.type, enabled=False):
            new = gradient_variances(batch.gather(errors), batch.gather(inputs), rows)
        kept = self.settings.moving_average
        averaged = kept * self.variances + (1 - kept) * new
        self._moved = averaged.detach()
        corrected = averaged / (1 - kept)
        return self.penalised(losses.mean(), (corrected - corrected.mean(0)).square().mean())

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Learn from one batch, and keep the variances that it has moved."""
        terms = super().step(batch, engine)
        self.variances.copy_(self._moved)
        return terms
