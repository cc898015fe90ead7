"""DSN: a shared and a private encoding of F's features, kept apart (Bousmalis et al., NeurIPS 2016); here of all sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.methods.adversary import perceptron, refuse_nothing_to_learn, reverse_gradient
from domain_masks.methods.base import Context, Engine, Optimizer, domains_of, labels_of
from domain_masks.methods.descriptions.adversarial import DescribedDSN, DSNSettings
from domain_masks.methods.one_network import OneRepresentedNetwork

MAIN, SEPARATION, ADVERSARY = "main", "separation", "domain_net"


def difference_loss(shared: Tensor, private: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Return the squared Frobenius norm of H_cᵀ H_p, or the mean of the squares, of one domain (Equation 5).

    The paper gives the columns zero mean and the rows unit norm first, as its authors' code does; rows that are then 0 stay so.

    - ``shared``, ``private``: (N, K), encodings of images of one domain
    """
    shared, private = (functional.normalize(codes - codes.mean(0), dim=1, eps=1e-6) for codes in (shared, private))
    squares = (shared.t() @ private).square()
    return squares.mean() if reduction == "mean" else squares.sum()


def scale_invariant_error(true: Tensor, reconstructed: Tensor) -> Tensor:
    """Return ‖x - x̂‖²/k - ((x - x̂)·1)²/k² of every row: errors that are the same in all entries cost nothing (Equation 4).

    - ``true``, ``reconstructed``: (N, K) -> (N,); never below 0
    """
    return (true - reconstructed).var(1, correction=0)


class DSN(DescribedDSN, OneRepresentedNetwork):
    """What the last layer is given is the shared encoding; encoders of the sources' own hold what it shall not hold.

    Where the paper encodes and reconstructs images, this does F's features, the means of their channels over their places: the
    shared encoder E_c is the network up to its last layer, each private encoder E_p and the decoder D are two layers, and
    D(E_c + E_p) reconstructs what F gives. What is reconstructed, and what private encoders see, is taken as data: the three
    losses change F by way of E_c alone. The similarity loss is that of DANN, with constant strength. Losses of several domains
    are means over the domains in the batch (the paper adds up its two).
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: DSNSettings) -> None:
        super().__init__(backbone, context, settings)
        features = torch.zeros(1, *self.network.feature_shape)
        inside = self.network.pooled(features).shape[1]
        outside, domains = self.network.width, len(context.sources)
        self.private = nn.ModuleList(perceptron(inside, settings.width, outside, 2) for _ in range(domains))
        self.decoder = perceptron(outside, settings.width, inside, 2)
        self.domain_net = perceptron(outside, settings.width, domains, 2)
        self.begun = True

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return those of the network, ``separation`` (private encoders and decoder) and ``domain_net``."""
        groups = super().parameter_groups()
        refuse_nothing_to_learn(self, groups["body"])
        separation = [*self.private.parameters(), *self.decoder.parameters()]
        return {**groups, SEPARATION: separation, ADVERSARY: list(self.domain_net.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one for the network and what separates, one for the domain net."""
        adversary = Optimizer((ADVERSARY,), lr=self.settings.domain_lr)
        return {MAIN: ("body", "head", SEPARATION), ADVERSARY: adversary}

    def training_only(self) -> tuple[str, ...]:
        """Return all but the shared encoder and its classifier."""
        return ("private", "decoder", "domain_net")

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """See whether the losses besides the classes' count by now, and learn from one batch."""
        self.begun = engine.progress >= self.settings.start
        return super().step(batch, engine)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the weighted terms of Equation 1."""
        labels, domains, settings = labels_of(batch), domains_of(batch), self.settings
        features = self.boundary_features(batch)
        representation = self.network.represent(features)
        terms = {"classification": self.classification_loss(self.network.classify(representation), labels)}
        if not self.begun:
            return terms
        data, shared = self.network.pooled(features).detach(), self.network.channels(representation)
        private = torch.stack([encoder(data) for encoder in self.private])[domains, torch.arange(len(domains))]
        similarity = functional.cross_entropy(self.domain_net(reverse_gradient(shared, 1.0)), domains)
        return terms | {
            "reconstruction": settings.reconstruction_weight
            * scale_invariant_error(data, self.decoder(shared + private)).mean(),
            "difference": settings.difference_weight * self._difference(batch, shared, private),
            "similarity": settings.similarity_weight * similarity,
        }

    def _difference(self, batch: DomainBatch, shared: Tensor, private: Tensor) -> Tensor:
        domains = batch.gather(domains_of(batch))
        shared, private = batch.gather(shared), batch.gather(private)
        each = [
            difference_loss(shared[domains == domain], private[domains == domain], self.settings.difference_reduction)
            for domain in torch.unique(domains)
        ]
        return torch.stack(each).mean()
