"""Remove the neurons with low mask probability, and everything that only they need.

Removing a neuron sets its factor to 0: the pruned network equals the folded network with these factors set to 0, up to
rounding. A layer keeps the union of the channels that its users need. If a neuron has another user, such as the identity path
of a residual block, it is still computed, and only the layer after the mask takes fewer inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from domain_masks.deploy.exporting.channel_rules import Channelwise, Convolution, Joining, Mixing, is_reshape
from domain_masks.deploy.exporting.channel_usage import Channels, ChannelUsage
from domain_masks.deploy.exporting.fold import SCALE, describe, fold
from domain_masks.deploy.exporting.layer_graph import layer_graph, shape_of, site_input
from domain_masks.errors import InputError
from domain_masks.networks import MaskedNetwork, Site


@dataclass(frozen=True)
class PrunedSite:
    """How one site was pruned.

    - ``below``: how many of its K neurons have a factor below the threshold
    - ``removed``: how many of them are no longer inputs of the layers after the mask
    - ``not_computed``: how many are no longer computed before the mask either
    - ``reason``: why some of them are still computed
    """

    site: Site
    below: int
    removed: int
    not_computed: int
    reason: str = ""

    def __str__(self) -> str:
        line = (
            f"{self.site.name}: {self.below} of {self.site.size} below the threshold, {self.removed} removed after the mask, "
            f"{self.not_computed} before it"
        )
        return f"{line} ({self.reason})" if self.reason else line


@dataclass(frozen=True)
class Pruned:
    """A pruned network.

    - ``network``: images (N, 3, H, W) -> logits (N, C); remaining layers keep their names; evaluation mode only
    - ``folded``: the equivalent network of full width, equal up to rounding
    - ``sites``: how each site was pruned
    - ``before``, ``after``: number of parameters
    """

    network: nn.Module
    folded: nn.Module
    sites: tuple[PrunedSite, ...]
    before: int
    after: int


def prune(network: MaskedNetwork, factors: Mapping[str, Tensor], threshold: float) -> Pruned:
    """Remove neurons with factors below ``threshold`` from a copy of the user's network, and fold the other factors.

    - ``factors``: site -> (K,), in [0, 1]
    - ``threshold``: in [0, 1]; 0 removes only neurons that are already unused

    Raises InputError for a threshold out of range, and if the network cannot be traced to its layers.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold from 0 to 1 to prune at, got {threshold}")
    remaining = {site: torch.where(values < threshold, 0.0, values) for site, values in factors.items()}
    folded = fold(network, remaining)
    full = folded.network
    # Folded a second time as the copy to prune, instead of a deep copy with hooks.
    graph = layer_graph(fold(network, remaining).network, network.sites, network.image_size)
    usage = ChannelUsage(graph)
    sites = tuple(
        _site(usage, site, graph.marks[site.name], int((remaining[site.name] == 0).sum())) for site in network.sites
    )
    pruned = _pruned(usage)
    return Pruned(pruned, full, sites, _count(full), _count(pruned))


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _site(usage: ChannelUsage, site: Site, mark: fx.Node, below: int) -> PrunedSite:
    before = usage.kept.get(mark)
    not_computed = 0 if before is None else site.size - len(before)
    after = [channels for channels in _taken_by_layers(usage, mark) if channels is not None]
    removed = min((site.size - len(channels) for channels in after), default=0)
    reason = ""
    if not_computed < min(below, site.size - 1):  # at least one neuron is kept
        reason = _what_needs_all(usage, mark)
    return PrunedSite(site, below, removed, not_computed, reason)


def _taken_by_layers(usage: ChannelUsage, node: fx.Node) -> list[Channels | None]:
    """Return the channels that the layers after a mask take, skipping the product with the factors."""
    taken: list[Channels | None] = []
    for need in usage.needs[node]:
        rule = usage.rules[need.user]
        if isinstance(rule, Mixing):
            taken.append(need.channels)
        elif _is_factor(usage, need.user):
            taken += _taken_by_layers(usage, need.user)
    return taken


def _is_factor(usage: ChannelUsage, node: fx.Node) -> bool:
    """Whether a node multiplies a site's input by its factors."""
    sources = node.all_input_nodes
    return isinstance(usage.rules[node], Joining) and any(
        source.op == "get_attr" and str(source.target).rpartition(".")[2] == SCALE for source in sources
    )


def _what_needs_all(usage: ChannelUsage, mark: fx.Node) -> str:
    """Return the reason why neurons before a mask cannot be removed."""
    seen: set[fx.Node] = set()
    waiting = [mark]
    flattened = False
    while waiting:
        node = waiting.pop(0)
        if node in seen:
            continue
        seen.add(node)
        needs = usage.needs[node]
        for need in needs:
            is_whole = need.channels is None or bool(need.channels.chosen.all())
            if is_whole and _is_factor(usage, need.user):
                waiting.append(need.user)
            elif is_whole and need.user.target is not site_input and need.user not in seen:
                return f"the others are needed by {describe(usage.network, need.user)}"
        rule = usage.rules[node]
        flattened = flattened or bool(getattr(rule, "repeats", {}))
        if isinstance(rule, Mixing):
            continue
        if rule is None and node.target is not site_input:
            return f"{describe(usage.network, node)} cannot be pruned"
        waiting += [source for source in node.all_input_nodes if shape_of(source) is not None]
    if flattened:
        return "a channel is computed as long as one of its positions is used"
    return ""


def _pruned(usage: ChannelUsage) -> fx.GraphModule:
    """Prune the layers of the traced network to the kept channels, and rebuild it."""
    network, graph = usage.network.network, usage.network.graph
    indices = _IndexBuffers(network)
    for node in list(graph.nodes):
        rule, kept = usage.rules[node], usage.kept.get(node)
        if isinstance(rule, Mixing):
            source = node.args[0]
            wanted = usage.needed_by(source, node)
            _select(indices, graph, usage, node, source, wanted)
            columns = None if wanted is None else wanted.chosen
            _cut_layer(network.get_submodule(rule.name), None if kept is None else kept.chosen, columns)
        elif isinstance(rule, Channelwise) and kept is not None:
            _cut_channels(network.get_submodule(rule.name), kept.chosen)
        elif isinstance(rule, Joining):
            for source in node.all_input_nodes:
                _select(indices, graph, usage, node, source, usage.needed_by(source, node) if kept else None)
        elif node.op == "get_attr" and kept is not None:
            _cut_attribute(network, str(node.target), kept)
        elif is_reshape(node) and kept is not None:
            node.op, node.target, node.args, node.kwargs = "call_function", torch.flatten, (node.args[0], 1), {}
    for node in list(graph.nodes):
        if node.target is site_input:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    # Built only now, so that the module has the buffers that were added.
    module = fx.GraphModule(network, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    return module.eval()


class _IndexBuffers:
    """Registers the indices for selecting channels of wider values as buffers of the network."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._count = 0

    def register(self, indices: Tensor) -> str:
        name = f"pruned_inputs_{self._count}"
        self._count += 1
        self._network.register_buffer(name, indices)
        return name


def _select(
    buffers: _IndexBuffers, graph: fx.Graph, usage: ChannelUsage, user: fx.Node, source: Any, wanted: Channels | None
) -> None:
    """Make ``user`` select its own channels of a wider value."""
    kept = usage.kept.get(source)
    if wanted is None or bool(wanted.chosen.all()) or (kept is not None and kept.same_as(wanted)):
        return
    positions = wanted.chosen if kept is None else wanted.chosen[kept.chosen]
    with graph.inserting_before(user):
        indices = graph.create_node("get_attr", buffers.register(positions.nonzero().flatten()))
        taken = graph.call_function(torch.index_select, (source, wanted.axis, indices))
    user.replace_input_with(source, taken)


def _cut(parameter: Tensor, chosen: Tensor | None, axis: int = 0) -> nn.Parameter:
    cut = parameter.detach()
    if chosen is not None:
        cut = cut.index_select(axis, chosen.to(cut.device).nonzero().flatten())
    return nn.Parameter(cut, requires_grad=parameter.requires_grad)


def _cut_bias(bias: Tensor | None, chosen: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else _cut(bias, chosen)


def _cut_layer(layer: nn.Module, rows: Tensor | None, columns: Tensor | None) -> None:
    """Keep the outputs ``rows`` and the inputs ``columns`` of a linear layer or convolution; None keeps all."""
    if not isinstance(layer, nn.Linear | Convolution):
        raise TypeError(f"expected a linear layer or a convolution, got {type(layer).__name__}")
    layer.weight = _cut(_cut(layer.weight, rows), columns, axis=1)
    layer.bias = _cut_bias(layer.bias, rows)
    outputs, inputs = layer.weight.shape[:2]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = outputs, inputs
    else:
        layer.out_channels, layer.in_channels = outputs, inputs


def _cut_channels(layer: nn.Module, chosen: Tensor) -> None:
    """Keep the channels ``chosen`` of a batch norm or a depthwise convolution."""
    count = int(chosen.sum())
    if isinstance(layer, Convolution):
        layer.weight = _cut(layer.weight, chosen)
        layer.bias = _cut_bias(layer.bias, chosen)
        layer.in_channels = layer.out_channels = layer.groups = count
        return
    if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
        raise TypeError(f"expected a batch norm or a depthwise convolution, got {type(layer).__name__}")
    if layer.affine:
        layer.weight, layer.bias = _cut(layer.weight, chosen), _cut(layer.bias, chosen)
    for name in ("running_mean", "running_var"):
        statistics = getattr(layer, name)
        setattr(layer, name, statistics[chosen.to(statistics.device)].clone())
    layer.num_features = count


def _cut_attribute(network: nn.Module, name: str, kept: Channels) -> None:
    owner, _, last = name.rpartition(".")
    module = network.get_submodule(owner)
    value = getattr(module, last)
    cut = _cut(value, kept.chosen, kept.axis)
    setattr(module, last, cut if isinstance(value, nn.Parameter) else cut.detach())
