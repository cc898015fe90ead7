"""A classifier with domain-specific masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.masks import DomainMasks
from domain_masks.masks.functional import Reduction
from domain_masks.masks.module import Initialisation
from domain_masks.networks.inputs import Inputs, check_domains, check_features, check_noise, check_sets
from domain_masks.networks.network import Network
from domain_masks.networks.site import Site


class MaskedNetwork(Network):
    """A classifier whose task network is masked by source domain (DMG, Section 3.2).

    In training every image has a hard mask sampled from its own domain's probabilities. In evaluation its own domain's
    probabilities scale the activations (soft scaling); for an image of unknown domain the prediction ensemble is returned.

    - ``network``: images (N, 3, H, W) -> logits (N, C); with ``example_input`` other inputs
    - ``domains``: D, the number of source domains
    - ``sites``: the modules whose inputs are masked
    - ``boundary``: the module where T begins; None: the first site
    - ``initialisation``: initial mask logits: ``uniform``, U(0, 1), or one number for all

    Raises InputError without a site, and if the network cannot be split.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        network: nn.Module,
        domains: int,
        sites: Sequence[str | Site],
        boundary: str | None = None,
        image_size: int = 224,
        initialisation: Initialisation = "uniform",
        dropout_in_task: bool = False,
        example_input: Inputs | None = None,
    ) -> None:
        if not sites:
            raise InputError("no mask site: expected the names of one or more modules whose inputs are to be masked")
        first = sites[0] if isinstance(sites[0], str) else sites[0].name
        super().__init__(network, boundary or first, sites, image_size, dropout_in_task, example_input)
        parameter = next(network.parameters(), torch.zeros(()))
        self.masks = DomainMasks({site.name: site.size for site in self.sites}, domains, initialisation).to(
            parameter.device
        )

    def task(
        self, features: Tensor, domains: Tensor | None = None, noise: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Run the masked T.

        - ``features``: (N, ...), the boundary's input
        - ``domains``: (N,) integers in [0, D); None if unknown, in evaluation only
        - ``noise``: site -> (N, K) uniform noise in [0, 1) for the sampled masks; None uses torch's global generator
        - returns: logits (N, C)

        Raises ValueError for an unknown domain in training, and InputError for invalid domains.
        """
        check_features(features)
        if domains is None:
            if self.training:
                raise ValueError("expected the domain of every training instance, got None")
            return self.task_domain_logits(features).mean(0)
        domains = check_domains(domains, features, self.masks.domains)
        if self.training:
            check_noise(noise, self._sizes, features.shape[0])
            return self._masked(features, self.masks.sample(domains, noise))
        return self._masked(features, self.masks.soft(domains))

    @property
    def _sizes(self) -> dict[str, int]:
        return {site.name: site.size for site in self.sites}

    def _masked(self, features: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        segments = self.segments
        shared = segments.shared(self.network, features)
        return segments.masked(self.network, shared, *[masks[site.name] for site in self.sites])

    def forward(
        self, images: Inputs, domains: Tensor | None = None, noise: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Run F, then the masked T; see :meth:`task`."""
        return self.task(self.features(images), domains, noise)

    def domain_logits(self, images: Inputs) -> Tensor:
        """Return the logits with every domain's soft mask, (D, N, C); F runs once, and T once for all domains together."""
        return self.task_domain_logits(self.features(images))

    def task_domain_logits(self, features: Tensor) -> Tensor:
        """Return the logits with every domain's soft mask for features (N, ...); (D, N, C)."""
        return self.soft_logits(features, self.masks.probabilities())

    def soft_logits(self, features: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Run T once for P sets of masks.

        The batch size is N before the first site and P·N from there on.

        - ``features``: (N, ...)
        - ``masks``: site -> (P, K), the factors of each set
        - returns: (P, N, C)
        """
        check_features(features)
        sets = check_sets(masks, self._sizes)
        return self.under_each(features, sets, lambda of_rows: [of_rows(masks[site.name]) for site in self.sites])

    def overlap_loss(self, reduction: Reduction = "sum", epsilon: float = 0.0) -> Tensor:
        """Return Equation 2's inner sums over sites and pairs of domains; scalar."""
        return self.masks.overlap_loss(reduction, epsilon)
