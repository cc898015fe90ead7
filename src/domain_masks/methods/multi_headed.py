"""Multi-Headed: a shared network with one last layer per source (the paper's second baseline, Section 4.1)."""

from __future__ import annotations

from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import (
    PREDICTIONS,
    Context,
    Method,
    average,
    domains_of,
    known,
    labels_of,
)
from domain_masks.methods.descriptions.baselines import DescribedMultiHeaded, MultiHeadedSettings
from domain_masks.networks import MultiHeadNetwork, find_head


class MultiHeaded(DescribedMultiHeaded, Method):
    """Each instance trains its own domain's head; at test time the predictions of all heads are averaged."""

    predicts_by_domain = True
    network: MultiHeadNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: MultiHeadedSettings) -> None:
        super().__init__(context, settings)
        self.network = MultiHeadNetwork(
            backbone,
            len(context.sources),
            find_head(backbone),
            context.boundary_of(backbone),
            context.image_size,
            context.head_initialisation,
        )

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy of each instance's own head, the mean over the batch."""
        logits = self.network.task(self.boundary_features(batch), domains_of(batch))
        return {"classification": self.classification_loss(logits, labels_of(batch))}

    def domain_tensors(self) -> frozenset[str]:
        """Return the names of the stacked heads."""
        head = f"network.network.{self.network.head}."
        return frozenset(name for name in self.state_dict() if name.startswith(head))

    def validation_logits(self, batch: DomainBatch) -> Tensor:
        """Return the logits that choose the best epoch, as the setting ``validation`` says."""
        features = self.boundary_features(batch)
        if self.settings.validation == "known" and batch.domains is not None:
            return self.network.task(features, batch.domains)
        return average(self.network.task_domain_logits(features), self.settings.average)

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the average over all heads, the weighted one where there is a domain classifier, and every single head."""
        features = self.boundary_features(batch)
        heads = self.network.task_domain_logits(features)
        ensembles = {PREDICTIONS: average(heads, self.settings.average)}
        ensembles |= self.weighted(heads, features, self.settings.average)
        return ensembles | {known(source): heads[index] for index, source in enumerate(self.context.sources)}
