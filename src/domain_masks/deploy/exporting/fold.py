"""Fold one mask into a network's weights.

Under soft scaling a mask is a fixed factor per neuron (Section 3.2), and a factor on the input of a linear layer or a
convolution can be moved into its weights: ``W (m * x) = (W diag(m)) x``. If the masked input also feeds something else, such
as the identity path of a residual block, the multiplication stays in the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from domain_masks.deploy.exporting.channel_rules import (
    Channelwise,
    Convolution,
    Grouped,
    Mixing,
    Passing,
    channel_rule,
    scale_columns,
)
from domain_masks.deploy.exporting.layer_graph import LayerGraph, asks_batch_size_alone, layer_graph, shape_of
from domain_masks.methods import Method
from domain_masks.methods.base import MASKS, known
from domain_masks.networks import MaskedNetwork, Site

SCALE = "mask_scale"
"""Name of the buffer added to a site's module if its mask cannot be folded."""


@dataclass(frozen=True)
class FoldedSite:
    """How one site's mask was folded.

    - ``layers``: names of the layers whose weights contain it; empty if it stays a multiplication
    - ``reason``: why it was not folded
    """

    site: Site
    layers: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_folded(self) -> bool:
        """Whether the mask is part of the weights."""
        return bool(self.layers)

    def __str__(self) -> str:
        if self.is_folded:
            return f"{self.site.name}: folded into the weights of {', '.join(self.layers)}"
        return f"{self.site.name}: a factor per channel, since {self.reason}"


@dataclass(frozen=True)
class Folded:
    """A copy of the user's network with one mask folded in.

    - ``network``: images (N, 3, H, W) -> logits (N, C), with the user's class and parameter names; only valid in
      evaluation mode
    - ``sites``: how each site's mask was folded
    """

    network: nn.Module
    sites: tuple[FoldedSite, ...]


def mask_factors(method: Method, ensemble: str) -> dict[str, Tensor] | None:
    """Return site -> factors (K,) if an ensemble is one forward pass under a single mask, otherwise None.

    ``masks`` is the mean over the source domains' probabilities (Section 7.3), ``known:DOMAIN`` those of one domain.
    """
    if not isinstance(method.network, MaskedNetwork):
        return None
    soft = {site: mask.detach() for site, mask in method.network.masks.probabilities().items()}
    if ensemble == MASKS:
        return {site: mask.mean(0) for site, mask in soft.items()}
    names = [known(source) for source in method.context.sources]
    if ensemble not in names:
        return None
    return {site: mask[names.index(ensemble)] for site, mask in soft.items()}


def fold(network: MaskedNetwork, factors: Mapping[str, Tensor]) -> Folded:
    """Fold the factors of every site into a copy of the user's network; outputs are equal up to rounding.

    - ``factors``: site -> (K,), non-negative, such as one domain's mask probabilities; see :func:`mask_factors`

    Raises InputError if the network cannot be traced to its sites.
    """
    copied = deepcopy(network.network).eval()
    graph = layer_graph(copied, network.sites, network.image_size)
    return Folded(copied, tuple(_fold_site(graph, site, factors[site.name].detach()) for site in network.sites))


def _fold_site(graph: LayerGraph, site: Site, factors: Tensor) -> FoldedSite:
    mark = graph.marks[site.name]
    rank = len(shape_of(mark) or ())
    axis = site.axis % rank
    try:
        receiving = _receiving(graph, mark, axis, factors)
    except _CannotBeFoldedError as reason:
        _scale_input(graph.network.get_submodule(site.name), factors, rank - axis)
        return FoldedSite(site, reason=str(reason))
    for name, layer_factors in receiving:
        _scale_layer(graph.network.get_submodule(name), layer_factors)
    return FoldedSite(site, tuple(name for name, _ in receiving))


class _CannotBeFoldedError(Exception):
    pass


def _receiving(graph: LayerGraph, node: fx.Node, axis: int, factors: Tensor) -> list[tuple[str, Tensor]]:
    """Return the layers into which the factors of a node's channels can be folded, with the factors of their inputs.

    Raises _CannotBeFoldedError if a channel has any other consumer.
    """
    receiving: list[tuple[str, Tensor]] = []
    for user in node.users:
        if asks_batch_size_alone(user) or (shape_of(user) is None and user.op != "output"):
            continue  # a number, such as the batch size, which factors do not change
        rule = channel_rule(graph, user)
        if (isinstance(rule, Mixing) and rule.axis_in == axis) or (
            isinstance(rule, Channelwise | Grouped) and axis == 1
        ):
            receiving.append((rule.name, factors))
        elif isinstance(rule, Passing) and rule.homogeneous and axis in rule.axes:
            repeated = factors.repeat_interleave(rule.repeats.get(axis, 1))
            receiving += _receiving(graph, user, rule.axes[axis], repeated)
        else:
            raise _CannotBeFoldedError(f"the masked input also feeds {describe(graph, user)}")
    if not receiving:
        raise _CannotBeFoldedError("no layer takes the masked input")
    return receiving


def describe(graph: LayerGraph, node: fx.Node) -> str:
    """Return a description of a node for messages."""
    if node.op == "call_module":
        return f"{node.target} ({type(graph.network.get_submodule(str(node.target))).__name__})"
    target: Any = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    return {"add": "a sum, as a residual connection does", "iadd": "a sum, as a residual connection does"}.get(
        name, f"the operation {name}"
    )


def _scale_layer(layer: nn.Module, factors: Tensor) -> None:
    if isinstance(layer, nn.Linear | Convolution):
        scale_columns(layer, factors)
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        _scale_norm(layer, factors)


def _scale_norm(norm: nn.modules.batchnorm._BatchNorm, factors: Tensor) -> None:
    """Change a batch norm in evaluation mode so that its output for x is that for ``factors * x`` before.

    (f x - μ) / σ · w + b is x / σ · (w f) + (b - w μ / σ), also where f is 0.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("expected a batch norm with statistics")
    with torch.no_grad():
        if not norm.affine:
            norm.weight = nn.Parameter(torch.ones_like(mean))
            norm.bias = nn.Parameter(torch.zeros_like(mean))
        norm.bias.sub_(norm.weight * mean / torch.sqrt(variance + norm.eps))
        norm.weight.mul_(factors.to(norm.weight))
        mean.zero_()


def _scale_input(module: nn.Module, factors: Tensor, axes: int) -> None:
    """Make ``module`` multiply its input by ``factors``, without renaming parameters.

    - ``axes``: number of axes from the channel axis to the last, to which ``factors`` are broadcast
    """
    first = next(module.parameters(), factors)
    module.register_buffer(SCALE, factors.clone().to(first).reshape(-1, *[1] * (axes - 1)))
    module.register_forward_pre_hook(apply_scale)


def apply_scale(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Multiply a module's first input by its buffer ``mask_scale``, whose shape is (K, 1, ...)."""
    return (args[0] * getattr(module, SCALE), *args[1:])
