"""A classifier whose task network normalises each source domain by statistics and factors of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.networks.by_domain import DomainNetwork
from domain_masks.networks.inputs import example_of
from domain_masks.networks.network import Network
from domain_masks.networks.outputs import Changes
from domain_masks.networks.sites import resolve_sites
from domain_masks.networks.split import Segments, split_network
from domain_masks.processes import sum_over_processes

_AFTER = ("drop", "act")


class OfDomains(NamedTuple):
    """Activations (N, C, ...), with the domain of each row (N,), and how much of batch norm it gets (N,); None: all of it."""

    inputs: Tensor
    domains: Tensor
    share: Tensor | None


class Normalised(NamedTuple):
    """What is done before a layer of batch norm: its rows' domains come along."""

    domains: Tensor
    share: Tensor | None

    def at(self, inputs: Tensor, _axis: int) -> OfDomains:
        """Return what :class:`DomainBatchNorm` is called with."""
        return OfDomains(inputs, self.domains, self.share)


def domain_statistics(inputs: Tensor, domains: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance (D, C) of the rows of each domain, and of how many values per channel they are, (D,).

    Rows of all processes that share a batch count. A domain without rows has mean 0 and variance 0.

    - ``inputs``: (N, C, ...); ``domains``: (N,) in [0, D); ``count``: D
    """
    places = list(range(2, inputs.dim()))
    members = functional.one_hot(domains, count).to(inputs.dtype).T
    per_row = inputs.numel() // max(1, inputs.shape[0] * inputs.shape[1])
    # One sum for both, as every process waits for the others each time.
    rows = torch.cat([inputs.sum(places) if places else inputs, inputs.new_full((len(inputs), 1), per_row)], 1)
    sums = sum_over_processes(members @ rows)
    values = sums[:, -1].detach()
    mean = sums[:, :-1] / values.clamp(min=1)[:, None]
    squares = (inputs - _spread(mean[domains], inputs)).square()
    variance = sum_over_processes(members @ (squares.sum(places) if places else squares))
    return mean, variance / values.clamp(min=1)[:, None], values


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(*values.shape, *[1] * (like.dim() - 2))


class DomainBatchNorm(nn.Module):
    """A layer of batch norm for each of D domains, in the place of one, whose weights and statistics all begin with.

    - ``weight``, ``bias``, ``running_mean``, ``running_var``: (D, C)
    - ``num_batches_tracked``: (D,), batches that had rows of a domain

    The share w of :class:`OfDomains` mixes statistics of instances in: mean and variance are w times those of the domain's
    batch plus 1 - w times the image's own (Seo et al., ECCV 2020).
    """

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm, domains: int) -> None:
        super().__init__()
        self.domains = domains
        self.eps, self.momentum = layer.eps, layer.momentum
        # What timm's layers do behind batch norm.
        self.after = nn.Sequential(*[getattr(layer, name) for name in _AFTER if hasattr(layer, name)])
        self.weight = nn.Parameter(layer.weight.detach().repeat(domains, 1))
        self.bias = nn.Parameter(layer.bias.detach().repeat(domains, 1))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name).detach().repeat(domains, *[1] * getattr(layer, name).dim()))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor

    def forward(self, given: OfDomains) -> Tensor:
        """Normalise each row by its domain; raises ValueError where domains are not given, or a domain has a single value."""
        if not isinstance(given, OfDomains):
            raise ValueError("expected activations with the domain of each row: call it by the network around it")
        inputs = given.inputs.float()
        mean, variance = self._taken(inputs, given.domains) if self.training else (self.running_mean, self.running_var)
        mean, variance = mean[given.domains], variance[given.domains]
        if given.share is not None and inputs.dim() > 2:
            places = list(range(2, inputs.dim()))
            share = given.share[:, None]
            mean = share * mean + (1 - share) * inputs.mean(places)
            variance = share * variance + (1 - share) * inputs.var(places, correction=0)
        scale = self.weight[given.domains] * (variance + self.eps).rsqrt()
        result = (inputs - _spread(mean, inputs)) * _spread(scale, inputs) + _spread(self.bias[given.domains], inputs)
        normalised: Tensor = self.after(result.to(given.inputs.dtype))
        return normalised

    def _taken(self, inputs: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance, values = domain_statistics(inputs, domains, self.domains)
        if not torch.compiler.is_compiling() and bool((values == 1).any()):
            raise ValueError(
                f"Expected more than 1 value per channel when training, got one of a domain in input size {tuple(inputs.shape)}"
            )
        with torch.no_grad():
            present = values > 0
            self.num_batches_tracked += present
            momentum = self.num_batches_tracked.clamp(min=1).reciprocal() if self.momentum is None else self.momentum
            rate = (present * momentum).to(mean.dtype)[:, None]
            unbiased = variance * (values / (values - 1).clamp(min=1))[:, None]
            self.running_mean += rate * (mean - self.running_mean)
            self.running_var += rate * (unbiased - self.running_var)
        return mean, variance


class NormalisedNetwork(DomainNetwork):
    """A classifier whose layers of batch norm in T exist once per source domain.

    Each is replaced by a :class:`DomainBatchNorm` of the same name.

    - ``domains``: D; ``boundary``: where T begins
    - ``instance``: mix the statistics of instances in; the share of batch norm is the sigmoid of a parameter per domain, which
      all layers share, and begins at one half

    Raises InputError where T has no layer of batch norm with weights and running statistics, or one that does more.
    """

    def __init__(
        self, network: nn.Module, domains: int, boundary: str, image_size: int = 224, instance: bool = False
    ) -> None:
        whole = Network(network, boundary, (), image_size)
        layers = {name: module for name, module in _batch_norms(network).items() if not whole.in_features(name)}
        if not layers:
            raise InputError(
                f"the task network from {boundary!r} has no batch norm, which each domain could have for itself: expected an "
                f"earlier --boundary{_last_of(network)}"
            )
        plain = (nn.modules.batchnorm._BatchNorm.forward, nn.SyncBatchNorm.forward)
        for name, layer in layers.items():
            if type(layer).forward not in plain and not all(hasattr(layer, part) for part in _AFTER):
                raise InputError(
                    f"{name} is a {type(layer).__name__}, which does more than batch norm: expected layers of PyTorch or timm "
                    "in the task network, so that each domain can have its own. Choose a later --boundary"
                )
        self._layers = tuple(layers)
        super().__init__(network, boundary, (), image_size)
        self.domains = domains
        device = next(network.parameters()).device
        self.mixing = nn.Parameter(torch.zeros(domains, device=device)) if instance else None
        for name, layer in layers.items():
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, DomainBatchNorm(layer, domains).train(layer.training))
        # The layers' class has changed, and with it what the tracer may look into.
        self._segments = self._split()

    def _split(self, changes: Changes | None = None) -> dict[bool, Segments]:
        if "_openings" not in vars(self):
            example, signature = example_of(self.network, None, self.image_size)
            self._openings, _ = resolve_sites(self.network, self._layers, example, signature)
        # No sites of the network's own: nothing is masked there, and no record has to know of them.
        return split_network(
            self.network, self.boundary, self._openings, self._signature.count, silent=False, changes=changes
        )

    def at_openings(self, of_rows: Callable[[Tensor], Tensor]) -> Sequence[Normalised]:
        """Return the rows' domains for every layer of batch norm."""
        rows = of_rows(torch.arange(self.domains, device=next(self.network.parameters()).device))
        share = None if self.mixing is None else of_rows(self.mixing.sigmoid())
        return [Normalised(rows, share)] * len(self._openings)

    def domain_names(self) -> frozenset[str]:
        """Return the names of the tensors of the layers, below ``network.``, and of ``mixing``."""
        inner = tuple(f"network.{name}." for name in self._layers)
        return frozenset(name for name in self.state_dict() if name.startswith(inner) or name == "mixing")


def _batch_norms(network: nn.Module) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    kind = nn.modules.batchnorm._BatchNorm
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, kind) and module.affine and module.running_mean is not None
    }


def _last_of(network: nn.Module) -> str:
    names = list(_batch_norms(network))
    return f", such as {names[-1].rpartition('.')[0] or names[-1]!r}" if names else ", but the network has none at all"
