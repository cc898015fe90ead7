"""IRM: invariant risk minimisation, in its practical form IRMv1 (Arjovsky et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.methods.algorithms.warm_up import WarmedUp
from domain_masks.methods.base import labels_of
from domain_masks.methods.descriptions.risk import DescribedIRM
from domain_masks.methods.one_network import by_domain, mean_weights


def scale_gradients(losses: Tensor, logits: Tensor) -> Tensor:
    """Return the derivative of each image's loss with respect to a factor w of its logits, at w = 1; (N,), differentiable.

    - ``losses``: (N,), each computed from its own row of ``logits``, (N, C)
    """
    (gradients,) = torch.autograd.grad(losses.sum(), logits, create_graph=True)
    return (gradients * logits).sum(1)


def irm_penalty(gradients: Tensor, rows: Tensor, *, unbiased: bool = True) -> Tensor:
    """Return IRMv1's penalty: the squared gradient of a source's risk with respect to a scale of the logits, mean over sources.

    - ``gradients``: (N,), per image; see :func:`scale_gradients`
    - ``rows``: (D, N) bool, the rows of each source; at least two if ``unbiased``
    - ``unbiased``: estimate the square by the product of the gradients of even and odd images of a source, as in DomainBed
      and the paper's Appendix D; else by the square of the gradient of all its images
    - returns: scalar; can be negative if ``unbiased``
    """
    if not unbiased:
        return (mean_weights(rows, gradients) @ gradients).square().mean()
    odd = (rows.cumsum(1) % 2).bool()
    halves = [mean_weights(rows & half, gradients) @ gradients for half in (odd, ~odd)]
    return (halves[0] * halves[1]).mean()


class IRM(DescribedIRM, WarmedUp):
    """Penalises a classifier that is not optimal for every source.

    The penalty is computed over the images of all processes. Defaults are DomainBed's: weight 1 in the warm-up, a new optimiser
    after it, the unbiased estimate. The authors' ColoredMNIST code is ``estimate=squared`` with ``after_the_jump=rescaled``.
    """

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the mean of the sources' risks and the weighted penalty (IRMv1, Section 3.1)."""
        logits = self.logits(batch).float()
        losses = self.classification_loss(logits, labels_of(batch), reduction="none")
        unbiased = self.settings.estimate == "unbiased"
        rows = by_domain(batch, self.context.sources, 2 if unbiased else 1)
        penalty = irm_penalty(batch.gather(scale_gradients(losses, logits)), rows, unbiased=unbiased)
        return self.penalised((mean_weights(rows, losses) @ batch.gather(losses)).mean(), penalty)
