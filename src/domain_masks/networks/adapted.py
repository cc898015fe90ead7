"""A classifier whose task network has a low-rank adapter per source domain at its sites."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.networks.by_domain import DomainNetwork
from domain_masks.networks.inputs import Inputs
from domain_masks.networks.site import Site


def low_rank(inputs: Tensor, down: Tensor, up: Tensor, axis: int) -> Tensor:
    """Return x + B A x for the channels x at every position, with matrices per row.

    - ``inputs``: (N, ...) with K channels along ``axis``
    - ``down``: A, (N, R, K); ``up``: B, (N, K, R)
    - returns: the shape of ``inputs``
    """
    last = inputs.movedim(axis, -1)
    positions = last.flatten(1, -2) if last.dim() > 2 else last.unsqueeze(1)
    change = positions @ down.transpose(1, 2).to(inputs.dtype) @ up.transpose(1, 2).to(inputs.dtype)
    return inputs + change.reshape(last.shape).movedim(-1, axis)


class LowRank(NamedTuple):
    """The adapters of some rows at one site; see :func:`low_rank`."""

    down: Tensor
    up: Tensor

    def at(self, inputs: Tensor, axis: int) -> Tensor:
        """Return the adapted activations."""
        return low_rank(inputs, self.down, self.up, axis)


class AdaptedNetwork(DomainNetwork):
    """A classifier whose T receives, at each site, x + (α/r) B_d A_d x in place of the input's channels x, by domain d.

    A mask multiplies each channel by a number; an adapter adds a linear map of rank r. As in LoRA, A is initialised with
    U(-1/√K, 1/√K) and B with zero, so that the network initially equals the one without adapters.

    - ``domains``: D; ``sites``: the modules whose inputs are adapted; ``boundary``: where T begins, None: the first site
    - ``rank``: r, at most the channels of the narrowest site; ``alpha``: α

    Raises InputError without a site, for a larger rank, and if the network cannot be split.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        network: nn.Module,
        domains: int,
        sites: Sequence[str | Site],
        boundary: str | None = None,
        image_size: int = 224,
        rank: int = 8,
        alpha: float = 8.0,
        example_input: Inputs | None = None,
    ) -> None:
        if not sites:
            raise InputError("no site: expected the names of one or more modules whose inputs are to be adapted")
        first = sites[0] if isinstance(sites[0], str) else sites[0].name
        super().__init__(network, boundary or first, sites, image_size, example_input=example_input)
        narrowest = min(self.sites, key=lambda site: site.size)
        if not 1 <= rank <= narrowest.size:
            raise InputError(
                f"rank: expected 1 to {narrowest.size}, the number of channels at site {narrowest.name!r}, got {rank}"
            )
        self.domains = domains
        self.scale = alpha / rank
        parameter = next(network.parameters(), torch.zeros(()))
        # A parameter's name cannot hold a dot.
        self._keys = {site.name: site.name.replace(".", "/") for site in self.sites}
        sizes = {self._keys[site.name]: site.size for site in self.sites}
        self.down = nn.ParameterDict(
            {key: nn.Parameter(parameter.new_empty(domains, rank, size)) for key, size in sizes.items()}
        )
        self.up = nn.ParameterDict(
            {key: nn.Parameter(parameter.new_zeros(domains, size, rank)) for key, size in sizes.items()}
        )
        for key, size in sizes.items():
            nn.init.uniform_(self.down[key], -1 / math.sqrt(size), 1 / math.sqrt(size))

    def at_openings(self, of_rows: Callable[[Tensor], Tensor]) -> Sequence[LowRank]:
        """Return the rows' adapters at every site."""
        keys = [self._keys[site.name] for site in self.sites]
        return [LowRank(of_rows(self.down[key]), of_rows(self.scale * self.up[key])) for key in keys]
