"""Steps that use the gradient at perturbed weights: the base of SAM and SAGM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import Engine, labels_of
from domain_masks.methods.one_network import OneNetwork


def ascent(gradients: Mapping[str, Tensor], radius: float) -> dict[str, Tensor]:
    """Return ρ g / ‖g‖ by name, where ‖g‖ is the norm of all gradients together (SAM, Equation 2)."""
    norm = torch.stack([gradient.float().norm() for gradient in gradients.values()]).norm()
    return {name: gradient * (radius / (norm + 1e-12)) for name, gradient in gradients.items()}


class SharpnessAware(OneNetwork):
    """Two passes per step, over the same images: at the weights, and at weights moved along the first gradient.

    The gradient that moves the weights is that of the whole batch, also where several processes share it. With
    ``--accumulate`` each batch is looked at by itself, at weights moved by its own gradient: the paper's m-sharpness (Section
    4.1), where m is ``--batch``. Only the first pass moves the running statistics of batch norm.
    """

    share_here = 0.0
    """Weight of the loss at the weights themselves; that at the moved weights has the rest."""

    @abstractmethod
    def moves(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return by how much each parameter is moved before the second pass; ``gradients`` are those of the first."""

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy at the weights themselves, the mean over the batch."""
        return {"classification": self.classification_loss(self.logits(batch), labels_of(batch))}

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Learn from one batch, by two passes; returns the loss that the gradient is of."""
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
