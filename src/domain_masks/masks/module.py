"""The mask logits of all sites of a network, as one module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domain_masks.masks.functional import (
    Reduction,
    hard_masks,
    mask_probabilities,
    overlap_loss,
    sample_masks,
    sparsity_loss,
)

Initialisation = Literal["uniform"] | float
_CERTAIN = 200.0
"""A mask logit whose sigmoid is exactly 1 in single precision, and exactly 0 with the other sign."""


def _sum_of_rows(gradient: Tensor) -> Tensor:
    return gradient.sum(0, keepdim=True).expand_as(gradient)


class DomainMasks(nn.Module):
    """Learned on/off probabilities per source domain and neuron, for every mask site (Section 3.2).

    - ``sizes``: site name -> K, in the order of the network
    - ``domains``: D, the number of source domains, at least 1
    - ``initialisation``: ``uniform`` draws the logits from U(0, 1) as the paper does; a number sets them all to it

    The logits of a site are a parameter of shape (D, K). ``is_shared`` says whether its rows are one mask, see :meth:`share`.
    """

    def __init__(self, sizes: Mapping[str, int], domains: int, initialisation: Initialisation = "uniform") -> None:
        super().__init__()
        if domains < 1:
            raise ValueError(f"expected at least one domain, got {domains}")
        self.sites = tuple(sizes)
        self.domains = domains
        self.is_shared = False
        # A parameter's name cannot hold a dot.
        self._keys = {site: site.replace(".", "/") for site in self.sites}
        self.logits = nn.ParameterDict(
            {self._keys[site]: nn.Parameter(torch.empty(domains, size)) for site, size in sizes.items()}
        )
        self.reset_parameters(initialisation)

    def reset_parameters(self, initialisation: Initialisation = "uniform") -> None:
        """Initialise the logits again; ``uniform`` draws from torch's global generator."""
        with torch.no_grad():
            for logits in self.logits.values():
                if initialisation == "uniform":
                    logits.uniform_(0.0, 1.0)
                else:
                    logits.fill_(float(initialisation))

    @torch.no_grad()
    def share(self) -> None:
        """Give every domain the first one's mask, which all of them learn together from now on: D = 1 in D equal rows.

        Each row gets the sum of all rows' gradients, the gradient of the one mask that they stand for, so that an optimiser
        which treats elements alike keeps them equal. So do copies and unpickled masks.
        """
        for logits in self.logits.values():
            logits.copy_(logits[:1].expand_as(logits).clone())
        self.is_shared = True
        self._sum_gradients()

    def _sum_gradients(self) -> None:
        for logits in self.logits.values():
            if _sum_of_rows not in (logits._backward_hooks or {}).values():
                logits.register_hook(_sum_of_rows)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        # Neither copying nor pickling keeps the hooks of a parameter. Masks of older versions do not know the attribute.
        if self.__dict__.setdefault("is_shared", False):
            self._sum_gradients()

    @torch.no_grad()
    def draw_once(self) -> None:
        """Replace the probabilities by one draw from them, from torch's global generator: 0 or 1 exactly, also when sampled."""
        for logits in self.logits.values():
            logits.copy_(torch.where(torch.bernoulli(torch.sigmoid(logits)) > 0, _CERTAIN, -_CERTAIN))

    def __getitem__(self, site: str) -> nn.Parameter:
        """Return the mask logits of ``site``, (D, K)."""
        parameter: nn.Parameter = self.logits[self._keys[site]]
        return parameter

    def items(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Iterate over (site, logits)."""
        for site in self.sites:
            yield site, self[site]

    def probabilities(self) -> dict[str, Tensor]:
        """Return the mask probabilities per site, each (D, K), in (0, 1)."""
        return {site: mask_probabilities(logits) for site, logits in self.items()}

    def hard(self) -> dict[str, Tensor]:
        """Return the hard masks 1[m > 0.5] per site, each (D, K), boolean."""
        return {site: hard_masks(logits.detach()) for site, logits in self.items()}

    def sample(self, domains: Tensor, noise: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Draw a hard mask per instance and site; see :func:`sample_masks`.

        - ``domains``: (N,)
        - ``noise``: site -> (N, K) uniform numbers; None draws them from torch's global generator
        - returns: site -> (N, K)
        """
        return {
            site: sample_masks(logits, domains, None if noise is None else noise[site]) for site, logits in self.items()
        }

    def soft(self, domains: Tensor) -> dict[str, Tensor]:
        """Return the own domain's probabilities per instance and site (soft scaling), each (N, K)."""
        return {site: mask.index_select(0, domains) for site, mask in self.probabilities().items()}

    def overlap_loss(self, reduction: Reduction = "sum", epsilon: float = 0.0) -> Tensor:
        """Return Σ_sites Σ_{pairs i<j} sIoU(m_i, m_j), the second term of Equation 2 without its weight; scalar."""
        return torch.stack([overlap_loss(logits, reduction, epsilon) for _, logits in self.items()]).sum()

    def sparsity_loss(self) -> Tensor:
        """Return Σ_sites Σ_d ‖m_d‖₁ (Section 7.2); scalar."""
        return torch.stack([sparsity_loss(logits) for _, logits in self.items()]).sum()
