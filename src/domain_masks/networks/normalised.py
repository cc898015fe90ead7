"""A classifier whose task network has batch norm with statistics, weight and bias per source domain."""

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
    """Activations (N, C, ...), the domain of each row (N,), and its share of batch norm in [0, 1], (N,); None: 1."""

    inputs: Tensor
    domains: Tensor
    share: Tensor | None


class Normalised(NamedTuple):
    """The operation at a batch-norm layer's input: pass the rows' domains along."""

    domains: Tensor
    share: Tensor | None

    def at(self, inputs: Tensor, _axis: int) -> OfDomains:
        """Return the input of :class:`DomainBatchNorm`."""
        return OfDomains(inputs, self.domains, self.share)


def domain_statistics(inputs: Tensor, domains: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of each domain's rows, (D, C), and the number of values per channel, (D,).

    Statistics are over the rows of all processes. A domain without rows has mean 0 and variance 0.

    - ``inputs``: (N, C, ...); ``domains``: (N,) in [0, D); ``count``: D
    """
    places = list(range(2, inputs.dim()))
    members = functional.one_hot(domains, count).to(inputs.dtype).T
    per_row = inputs.numel() // max(1, inputs.shape[0] * inputs.shape[1])
    # One reduction for both, as each one synchronises all processes.
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
    """Batch norm for each of D domains, initialised with the weights and statistics of a single batch-norm layer.

    - ``weight``, ``bias``, ``running_mean``, ``running_var``: (D, C)
    - ``num_batches_tracked``: (D,), number of batches with rows of each domain

    With a share w in :class:`OfDomains`, mean and variance are w times those of the domain's batch plus 1 - w times those of
    the image (Seo et al., ECCV 2020).
    """

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm, domains: int) -> None:
        super().__init__()
        self.domains = domains
        self.eps, self.momentum = layer.eps, layer.momentum
        # The dropout and activation of timm's batch-norm layers.
        self.after = nn.Sequential(*[getattr(layer, name) for name in _AFTER if hasattr(layer, name)])
        self.weight = nn.Parameter(layer.weight.detach().repeat(domains, 1))
        self.bias = nn.Parameter(layer.bias.detach().repeat(domains, 1))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name).detach().repeat(domains, *[1] * getattr(layer, name).dim()))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor

    def forward(self, activations: OfDomains) -> Tensor:
        """Normalise each row by its domain; raises ValueError without domains, or if a domain has a single value."""
        if not isinstance(activations, OfDomains):
            raise ValueError("expected activations with the domain of each row: call it through its NormalisedNetwork")
        inputs = activations.inputs.float()
        mean, variance = (
            self._taken(inputs, activations.domains) if self.training else (self.running_mean, self.running_var)
        )
        mean, variance = mean[activations.domains], variance[activations.domains]
        if activations.share is not None and inputs.dim() > 2:
            places = list(range(2, inputs.dim()))
            share = activations.share[:, None]
            mean = share * mean + (1 - share) * inputs.mean(places)
            variance = share * variance + (1 - share) * inputs.var(places, correction=0)
        scale = self.weight[activations.domains] * (variance + self.eps).rsqrt()
        result = (inputs - _spread(mean, inputs)) * _spread(scale, inputs) + _spread(
            self.bias[activations.domains], inputs
        )
        normalised: Tensor = self.after(result.to(activations.inputs.dtype))
        return normalised

    def _taken(self, inputs: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance, values = domain_statistics(inputs, domains, self.domains)
        # Not on an accelerator, where it would be a synchronisation: the training loader sees to it that every source has rows.
        if values.device.type == "cpu" and not torch.compiler.is_compiling() and bool((values == 1).any()):
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
    """A classifier whose batch-norm layers in T have parameters per source domain.

    Each is replaced by a :class:`DomainBatchNorm` of the same name.

    - ``domains``: D; ``boundary``: the module where T begins
    - ``instance``: mix batch norm with instance norm; the share of batch norm is the sigmoid of one parameter per domain for
      all layers, initially one half

    Raises InputError if T has no batch norm with weights and running statistics, or an unsupported subclass of it.
    """

    def __init__(
        self, network: nn.Module, domains: int, boundary: str, image_size: int = 224, instance: bool = False
    ) -> None:
        whole = Network(network, boundary, (), image_size)
        layers = {name: module for name, module in _batch_norms(network).items() if not whole.in_features(name)}
        if not layers:
            raise InputError(
                f"the task network from {boundary!r} has no batch norm to make domain-specific: expected an "
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
        # Trace again, because the layers' class has changed.
        self._segments = self._split()

    def _split(self, changes: Changes | None = None) -> dict[bool, Segments]:
        if "_openings" not in vars(self):
            example, signature = example_of(self.network, None, self.image_size)
            self._openings, _ = resolve_sites(self.network, self._layers, example, signature)
        # These openings are not mask sites: nothing is masked there, and records do not contain them.
        return split_network(
            self.network, self.boundary, self._openings, self._signature.count, silent=False, changes=changes
        )

    def at_openings(self, of_rows: Callable[[Tensor], Tensor]) -> Sequence[Normalised]:
        """Return the rows' domains and shares for every batch-norm layer."""
        rows = of_rows(torch.arange(self.domains, device=next(self.network.parameters()).device))
        share = None if self.mixing is None else of_rows(self.mixing.sigmoid())
        return [Normalised(rows, share)] * len(self._openings)

    def domain_names(self) -> frozenset[str]:
        """Return the names in the state dict of the domain-specific layers' tensors, and of ``mixing``."""
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
    return (
        f", such as {names[-1].rpartition('.')[0] or names[-1]!r}" if names else ", but the network has no batch norm"
    )
