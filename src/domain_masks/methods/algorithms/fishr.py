"""Fishr: align the variance of the last layer's gradients between sources (Rame, Dancette, Cord, ICML 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.algorithms.warm_up import WarmedUp
from domain_masks.methods.base import Context, Engine, labels_of
from domain_masks.methods.descriptions.alignment import DescribedFishr, FishrSettings
from domain_masks.methods.one_network import OneRepresentedNetwork, by_domain, mean_weights


def gradient_variances(errors: Tensor, inputs: Tensor, rows: Tensor) -> Tensor:
    """Return, per source, the variance of the per-image gradients of a linear layer's weight and bias.

    The gradient of one image is the outer product of its error and its input, so its variance is E[e²x²] - E[ex]²; a bias is
    the weight of a constant input 1. Per-image gradients are not materialised.

    - ``errors``: (N, C), the derivative of each image's loss with respect to its logits
    - ``inputs``: (N, K), the layer's inputs; ``rows``: (D, N) bool, the rows of each source
    - returns: (D, C, K), the biased variance (divided by the number of images)
    """
    means = mean_weights(rows, errors)[:, :, None] * errors
    squares = mean_weights(rows, errors)[:, :, None] * errors.square()
    return squares.transpose(1, 2) @ inputs.square() - (means.transpose(1, 2) @ inputs).square()


class Fishr(DescribedFishr, WarmedUp, OneRepresentedNetwork):
    """Penalises the squared distance of the sources' gradient variances from their mean (Equation 4).

    As in DomainBed and the authors' code, the gradients are those of the last layer's weight and bias. The variances are
    exponential moving averages, divided by 1 - γ so that the penalty's gradient does not depend on γ; they are also updated
    during the warm-up, when the penalty has weight 0. The cross entropy is averaged over the batch; the variances are computed
    over the images of all processes.
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
        """Return the names of the tensors that only the penalty uses."""
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
        """Train on one batch and store the updated variances."""
        terms = super().step(batch, engine)
        self.variances.copy_(self._moved)
        return terms
