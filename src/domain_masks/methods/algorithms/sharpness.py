"""Updates with the gradient at perturbed weights: base of SAM and SAGM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import Engine, labels_of
from domain_masks.methods.one_network import OneNetwork


def ascent(gradients: Mapping[str, Tensor], radius: float) -> dict[str, Tensor]:
    """Return ρ g / ‖g‖ by name, where ‖g‖ is the norm over all gradients (SAM, Equation 2)."""
    norm = torch.stack([gradient.float().norm() for gradient in gradients.values()]).norm()
    return {name: gradient * (radius / (norm + 1e-12)) for name, gradient in gradients.items()}


class SharpnessAware(OneNetwork):
    """Two passes per step over the same images: at the weights, and at weights perturbed along the first gradient.

    The perturbation uses the gradient of the global batch, also on several processes. With ``--accumulate`` each batch has its
    own perturbation: the paper's m-sharpness (Section 4.1), where m is ``--batch``. Only the first pass updates the running
    statistics of batch norm.
    """

    share_here = 0.0
    """Weight of the loss at the unperturbed weights; the loss at the perturbed weights has the weight 1 - ``share_here``."""

    @abstractmethod
    def moves(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return name -> perturbation of each parameter for the second pass, from the first pass's ``gradients``."""

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy at the unperturbed weights, averaged over the batch."""
        return {"classification": self.classification_loss(self.logits(batch), labels_of(batch))}

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one batch with two passes; returns the weighted loss of both passes."""
        here = self.training_loss(batch)["classification"]
        engine.backward(here, batch)
        parameters = dict(self.network.named_parameters())
        first = {name: value.grad for name, value in parameters.items() if value.grad is not None}
        gradients = {name: engine.reduce(gradient.detach().clone()) for name, gradient in first.items()}
        for name, gradient in first.items():
            parameters[name].grad = gradient * self.share_here if self.share_here else None
        moved = {name: parameters[name] + move for name, move in self.moves(gradients).items()}
        there = self.classification_loss(self._logits_at(moved, batch), labels_of(batch))
        engine.backward((1 - self.share_here) * there, batch)
        engine.update()
        engine.log("sharpness", there.detach() - here.detach())
        return {"classification": self.share_here * here.detach() + (1 - self.share_here) * there.detach()}

    def _logits_at(self, weights: Mapping[str, Tensor], batch: DomainBatch) -> Tensor:
        if batch.images is None or batch.features is not None:
            return self.network.call("task", weights, self.boundary_features(batch))
        return self.network.call("network", weights, batch.images)
