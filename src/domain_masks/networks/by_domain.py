"""A classifier whose task network has parameters per source domain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from domain_masks.networks.inputs import Inputs, check_domains, check_features
from domain_masks.networks.network import Network
from domain_masks.networks.site import Opening


class DomainNetwork(Network):
    """A classifier whose T applies each instance's own domain's parameters at its openings, and shared layers elsewhere.

    Masks, batch norm and adapters per domain differ in :meth:`at_openings`.

    - ``domains``: D, the number of source domains
    """

    domains: int

    @abstractmethod
    def at_openings(self, of_rows: Callable[[Tensor], Tensor]) -> Sequence[Opening]:
        """Return the operation at each opening, in the order of the openings.

        - ``of_rows``: takes a tensor of all domains (D, ...) to that of the rows' own, (N, ...)
        """

    def task(self, features: Tensor, domains: Tensor | None = None) -> Tensor:
        """Run T: features (N, ...) -> logits (N, C), each row by its own domain's part; the mean over all where it is unknown.

        - ``domains``: (N,) integers in [0, D); None where unknown, which only evaluation allows

        Raises ValueError for an unknown domain in training, and for domains that cannot be meant.
        """
        check_features(features)
        if domains is None:
            if self.training:
                raise ValueError("expected the domain of every training instance, got None")
            return self.task_domain_logits(features).mean(0)
        own = check_domains(domains, features, self.domains)
        segments = self.segments
        shared = segments.shared(self.network, features)
        return segments.masked(self.network, shared, *self.at_openings(lambda values: values[own]))

    def task_domain_logits(self, features: Tensor) -> Tensor:
        """Return the logits by every domain's part from features (N, ...); (D, N, C)."""
        return self.under_each(features, self.domains, self.at_openings)

    def domain_logits(self, images: Inputs) -> Tensor:
        """Return the logits by every domain's part, (D, N, C); F runs once, T once on all domains together."""
        return self.task_domain_logits(self.features(images))
