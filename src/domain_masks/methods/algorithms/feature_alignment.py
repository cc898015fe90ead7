"""A penalty on the distance between the sources' features: base of CORAL and MMD."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.adversary import refuse_nothing_to_learn
from domain_masks.methods.base import labels_of
from domain_masks.methods.one_network import OneRepresentedNetwork, by_domain


class FeatureAlignment(OneRepresentedNetwork):
    """Compares the last layer's inputs, as in DomainBed, over the images of all processes."""

    @abstractmethod
    def distance(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return the distance averaged over all pairs of sources.

        - ``features``: (N, K), of the global batch; ``rows``: (D, N) bool, the rows of each source
        - returns: scalar
        """

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return ``body`` and ``head``; raises InputError if the body is frozen, so that features cannot be aligned."""
        groups = super().parameter_groups()
        refuse_nothing_to_learn(self, groups["body"])
        return groups

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy, averaged over the batch, and the weighted distance of the sources' features."""
        features, logits = self.represented(batch)
        rows = by_domain(batch, self.context.sources, type(self).rows_per_domain)
        # Differences of squares lose too many digits in half precision.
        with torch.autocast(features.device.type, enabled=False):
            distance = self.distance(batch.gather(features), rows)
        return {
            "classification": self.classification_loss(logits, labels_of(batch)),
            "penalty": self.settings.penalty_weight * distance,
        }
