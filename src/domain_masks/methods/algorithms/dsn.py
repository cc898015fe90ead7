"""DSN: orthogonal shared and private encodings of F's features, per source (Bousmalis et al., NeurIPS 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.methods.adversary import perceptron, refuse_nothing_to_learn, reverse_gradient
from domain_masks.methods.base import Context, Engine, Optimizer, domains_of, labels_of
from domain_masks.methods.descriptions.adversarial import DescribedDSN, DSNSettings
from domain_masks.methods.one_network import OneRepresentedNetwork

MAIN, SEPARATION, ADVERSARY = "main", "separation", "domain_net"


def difference_loss(shared: Tensor, private: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Return the squared Frobenius norm of H_cᵀ H_p, or the mean of its squared entries, for one domain (Equation 5).

    First columns are centred and rows scaled to unit norm, as in the paper and its authors' code; rows of 0 are kept.

    - ``shared``, ``private``: (N, K), encodings of images of one domain
    - returns: scalar, 0 or more
    """
    shared, private = (functional.normalize(codes - codes.mean(0), dim=1, eps=1e-6) for codes in (shared, private))
    squares = (shared.t() @ private).square()
    return squares.mean() if reduction == "mean" else squares.sum()


def scale_invariant_error(true: Tensor, reconstructed: Tensor) -> Tensor:
    """Return ‖x - x̂‖²/k - ((x - x̂)·1)²/k² per row, which ignores an error that is equal in all entries (Equation 4).

    - ``true``, ``reconstructed``: (N, K)
    - returns: (N,), 0 or more
    """
    return (true - reconstructed).var(1, correction=0)


class DSN(DescribedDSN, OneRepresentedNetwork):
    """Trains the last layer's input as the shared encoding, with private encoders per source for domain-specific information.

    The paper encodes and reconstructs images; here the data are F's features, averaged over positions. The shared encoder E_c
    is the network up to its last layer, each private encoder E_p and the decoder D have two layers, and D(E_c + E_p)
    reconstructs the data. The data are detached: the three losses train F through E_c alone. The similarity loss is that of
    DANN with constant λ. Losses of several domains are averaged over the domains in the batch (the paper sums its two).
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
        """Return the network's groups, ``separation`` (private encoders and decoder) and ``domain_net``."""
        groups = super().parameter_groups()
        refuse_nothing_to_learn(self, groups["body"])
        separation = [*self.private.parameters(), *self.decoder.parameters()]
        return {**groups, SEPARATION: separation, ADVERSARY: list(self.domain_net.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one optimiser for network, private encoders and decoder, and one for the domain net."""
        adversary = Optimizer((ADVERSARY,), lr=self.settings.domain_lr)
        return {MAIN: ("body", "head", SEPARATION), ADVERSARY: adversary}

    def training_only(self) -> tuple[str, ...]:
        """Return private encoders, decoder and domain net."""
        return ("private", "decoder", "domain_net")

    def weight_at(self, progress: float) -> float:
        """Return 0 before the fraction ``start`` of the training, 1 from it on, at ``progress`` in [0, 1]."""
        return float(progress >= self.settings.start)

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one batch; the losses besides the classification are added after the fraction ``start`` of training."""
        self.begun = bool(self.weight_at(engine.progress))
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
        rows = torch.arange(len(domains), device=domains.device)
        private = torch.stack([encoder(data) for encoder in self.private])[domains, rows]
        similarity = functional.cross_entropy(self.domain_net(reverse_gradient(shared, 1.0)), domains)
        return terms | {
            "reconstruction": settings.reconstruction_weight
            * scale_invariant_error(data, self.decoder(shared + private)).mean(),
            "difference": settings.difference_weight * self._difference(batch, shared, private),
            "similarity": settings.similarity_weight * similarity,
        }

    def _difference(self, batch: DomainBatch, shared: Tensor, private: Tensor) -> Tensor:
        domains, shared, private = batch.host_domains(), batch.gather(shared), batch.gather(private)
        of_each = [moved((domains == domain).nonzero()[:, 0], shared.device) for domain in torch.unique(domains)]
        reduction = self.settings.difference_reduction
        return torch.stack([difference_loss(shared[rows], private[rows], reduction) for rows in of_each]).mean()
