"""A classifier whose task network has parameters per source domain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from domain_masks.networks.inputs import Inputs, check_domains, check_features
from domain_masks.networks.network import Network
from domain_masks.networks.site import Opening


class DomainNetwork(Network):
    """A classifier whose T uses each image's own domain's parameters at its openings, and shared layers elsewhere.

    Masks, batch norm and adapters per domain differ in :meth:`at_openings`.

    - ``domains``: D, the number of source domains
    """

    domains: int

    @abstractmethod
    def at_openings(self, of_rows: Callable[[Tensor], Tensor]) -> Sequence[Opening]:
        """Return the operation at each opening, in the order of the openings.

        - ``of_rows``: maps a tensor of all domains (D, ...) to the rows' own domains, (N, ...)
        """

    def task(self, features: Tensor, domains: Tensor | None = None) -> Tensor:
        """Run T: features (N, ...) -> logits (N, C) with each row's own domain's parameters; their mean if it is unknown.

        - ``domains``: (N,) integers in [0, D); None if unknown, in evaluation only

        Raises ValueError for an unknown domain in training, and InputError for invalid domains.
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
        """Return the logits with every domain's parameters for features (N, ...); (D, N, C)."""
        return self.under_each(features, self.domains, self.at_openings)

    def domain_logits(self, images: Inputs) -> Tensor:
        """Return the logits with every domain's parameters, (D, N, C); F runs once, and T once for all domains together."""
        return self.task_domain_logits(self.features(images))
