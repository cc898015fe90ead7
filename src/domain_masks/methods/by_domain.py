"""Base of methods with parameters per source domain that average the domains' predictions."""

from __future__ import annotations

from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import PREDICTIONS, Method, average, domains_of, known, labels_of
from domain_masks.networks import DomainNetwork, MultiHeadNetwork


class ByDomain(Method):
    """Each image trains its own domain's parameters; at test time the predictions of all domains are averaged.

    Its settings have ``average`` and ``validation``.
    """

    predicts_by_domain = True
    network: DomainNetwork | MultiHeadNetwork

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy with each image's own domain's parameters, averaged over the batch."""
        logits = self.network.task(self.boundary_features(batch), domains_of(batch))
        return {"classification": self.classification_loss(logits, labels_of(batch))}

    def validation_logits(self, batch: DomainBatch) -> Tensor:
        """Return the logits (N, C) that select the best epoch, as the setting ``validation`` says."""
        features = self.boundary_features(batch)
        if self.settings.validation == "known" and batch.domains is not None:
            return self.network.task(features, batch.domains)
        return average(self.network.task_domain_logits(features), self.settings.average)

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the average over domains, each domain's logits, and ``weighted`` if there is a domain classifier."""
        features = self.boundary_features(batch)
        single = self.network.task_domain_logits(features)
        ensembles = {PREDICTIONS: average(single, self.settings.average)}
        ensembles |= self.weighted(single, features, self.settings.average)
        return ensembles | {known(source): single[index] for index, source in enumerate(self.context.sources)}
