"""Fusion: source-specific classifiers, weighted by predicted source probabilities (Mancini et al., ICIP 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.methods.averaging import weighted_average
from domain_masks.methods.base import PREDICTIONS, Context, Method, domains_of, known, labels_of
from domain_masks.methods.descriptions.decomposition import DescribedFusion, FusionSettings
from domain_masks.networks import MultiHeadNetwork, find_head


def with_agnostic_part(logits: Tensor, alpha: float) -> Tensor:
    """Return (1 - α) f_j + α mean_i f_i for every source j: classifiers with a shared domain-agnostic part.

    - ``logits``: (D, N, C), the f_j; ``alpha``: in [0, 1]
    - returns: (D, N, C)
    """
    return torch.lerp(logits, logits.mean(0, keepdim=True).expand_as(logits), alpha)


class Fusion(DescribedFusion, Method):
    """One last layer per source; z = (1 - α) Σ_j w_j f_j + α/D Σ_j f_j with weights w predicted by a domain branch.

    The branch is a linear layer on the channel means of F's features. As the weights sum to 1, z is the average, weighted by w,
    of classifiers that share the domain-agnostic part; each of these classifiers gives the prediction for a known domain.

    No code of the authors is known; this formula and α are from the paper. Our choices, which can be set: in training w is the
    image's own source (the paper estimates it at test time), and the branch is trained with its own cross entropy, with weight
    1, whose gradient also reaches F.
    """

    predicts_by_domain = True
    network: MultiHeadNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: FusionSettings) -> None:
        super().__init__(context, settings)
        head, boundary, domains = find_head(backbone), context.boundary_of(backbone), len(context.sources)
        self.network = MultiHeadNetwork(
            backbone, domains, head, boundary, context.image_size, context.head_initialisation
        )
        features = torch.zeros(1, *self.network.feature_shape)
        self.domain_branch = nn.Linear(self.network.pooled(features).shape[1], domains)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the network's groups, and ``domain_branch``."""
        return {**super().parameter_groups(), "domain_branch": list(self.domain_branch.parameters())}

    def domain_tensors(self) -> frozenset[str]:
        """Return the names of the stacked heads, and of the domain branch."""
        own = (f"network.network.{self.network.head}.", "domain_branch.")
        return frozenset(name for name in self.state_dict() if name.startswith(own))

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropies of the fused prediction and of the domains, averaged over the batch."""
        features, domains = self.boundary_features(batch), domains_of(batch)
        domain_logits = self.domain_branch(self.network.pooled(features))
        if self.settings.assignment == "predicted":
            weights = domain_logits.softmax(-1)
        else:
            weights = functional.one_hot(domains, len(self.context.sources)).to(domain_logits.dtype)
        logits = weighted_average(self._classifiers(features), weights, "logits")
        return {
            "classification": self.classification_loss(logits, labels_of(batch)),
            "domain": self.settings.domain_weight * functional.cross_entropy(domain_logits, domains),
        }

    def _classifiers(self, features: Tensor) -> Tensor:
        return with_agnostic_part(self.network.task_domain_logits(features), self.settings.alpha)

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the fused prediction, each source's own, and ``weighted`` if there is a domain classifier; (N, C) each."""
        features = self.boundary_features(batch)
        classifiers = self._classifiers(features)
        weights = self.domain_branch(self.network.pooled(features)).softmax(-1)
        ensembles = {PREDICTIONS: weighted_average(classifiers, weights, "logits")}
        ensembles |= self.weighted(classifiers, features, "logits")
        return ensembles | {known(source): classifiers[index] for index, source in enumerate(self.context.sources)}
