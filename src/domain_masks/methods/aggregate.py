"""Aggregate: one network on the pooled data of all sources (the paper's first baseline, Section 4.1)."""

from __future__ import annotations

from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import PREDICTIONS, Context, Method, Settings, labels_of
from domain_masks.methods.descriptions.baselines import DescribedAggregate
from domain_masks.networks import Network


class Aggregate(DescribedAggregate, Method):
    """Empirical risk minimisation on all sources together; dropout as usual."""

    def __init__(self, backbone: nn.Module, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self.network = Network(backbone, context.boundary_of(backbone), image_size=context.image_size)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy, the mean over the batch."""
        logits = self.network.task(self.boundary_features(batch))
        return {"classification": self.classification_loss(logits, labels_of(batch))}

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the network's logits."""
        return {PREDICTIONS: self.network.task(self.boundary_features(batch))}
