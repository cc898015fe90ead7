"""A penalty on how far the sources' features are apart: what CORAL and MMD have in common."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.adversary import refuse_nothing_to_learn
from domain_masks.methods.base import labels_of
from domain_masks.methods.one_network import OneRepresentedNetwork, by_domain


class FeatureAlignment(OneRepresentedNetwork):
    """Compares what the last layer takes, as DomainBed does, over the images of all processes."""

    @abstractmethod
    def distance(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return the mean distance of all pairs of sources.

        - ``features``: (N, K), of the global batch; ``rows``: (D, N), which of them each source has
        - returns: scalar
        """

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return body and head; raises InputError where the body is frozen, so that nothing could be made alike."""
        groups = super().parameter_groups()
        refuse_nothing_to_learn(self, groups["body"])
        return groups

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy, the mean over the batch, and the weighted distance of the sources' features."""
        features, logits = self.represented(batch)
        rows = by_domain(batch, self.context.sources, type(self).rows_per_domain)
        # Squares and differences of near numbers: not in half precision.
        with torch.autocast(features.device.type, enabled=False):
            distance = self.distance(batch.gather(features), rows)
        return {
            "classification": self.classification_loss(logits, labels_of(batch)),
            "penalty": self.settings.penalty_weight * distance,
        }
