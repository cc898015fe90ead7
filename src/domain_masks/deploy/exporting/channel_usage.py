"""Which channels of each value in a network are needed: those that reach the logits through a non-zero weight.

Channels that a layer multiplies by 0 need not be computed, which propagates backwards through all operations that keep
channels separate. A value with several users keeps the union of the channels they need, and each user selects its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from domain_masks.deploy.exporting.channel_rules import (
    ChannelRule,
    Channelwise,
    Concatenating,
    Joining,
    Mixing,
    Passing,
    channel_rule,
)
from domain_masks.deploy.exporting.fold import SCALE
from domain_masks.deploy.exporting.layer_graph import LayerGraph, asks_batch_size_alone, shape_of


@dataclass(frozen=True, eq=False)
class Channels:
    """A subset of the channels of a value.

    - ``axis``: the channel axis
    - ``chosen``: (K,), boolean
    """

    axis: int
    chosen: Tensor

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def same_as(self, other: Channels) -> bool:
        """Whether both are the same channels along the same axis."""
        return self.axis == other.axis and torch.equal(self.chosen, other.chosen)


@dataclass(frozen=True, eq=False)
class Need:
    """The channels of a value that ``user`` needs; ``channels`` None stands for all."""

    user: fx.Node
    channels: Channels | None


class ChannelUsage:
    """Which channels of each value in a network are used, and which can be removed.

    - ``needs``: value -> the needs of each of its users
    - ``kept``: value -> the channels to keep; values that keep all channels are absent
    """

    def __init__(self, network: LayerGraph) -> None:
        self.network = network
        self.rules: dict[fx.Node, ChannelRule | None] = {
            node: channel_rule(network, node) for node in network.graph.nodes
        }
        self.needs: dict[fx.Node, list[Need]] = {node: [] for node in network.graph.nodes}
        self.kept: dict[fx.Node, Channels] = {}
        self._zeros = dict(self._known_zeros())
        for node in reversed(network.graph.nodes):
            for source, need in self._needs_of(node):
                self.needs[source].append(need)
        for node in network.graph.nodes:
            kept = self._kept(node)
            if kept is not None and not bool(kept.chosen.all()):
                self.kept[node] = kept

    def wanted(self, node: fx.Node) -> Channels | None:
        """Return the union of the channels that the users of a value need; None for all."""
        channels = [need.channels for need in self.needs[node]]
        partial = [some for some in channels if some is not None]
        if not partial or len(partial) < len(channels) or len({some.axis for some in partial}) != 1:
            return None
        return Channels(partial[0].axis, _at_least_one(torch.stack([some.chosen for some in partial]).any(0)))

    def needed_by(self, source: fx.Node, user: fx.Node) -> Channels | None:
        """Return the channels of ``source`` that ``user`` needs; None for all."""
        return next((need.channels for need in self.needs[source] if need.user is user), None)

    def _known_zeros(self) -> Iterator[tuple[fx.Node, Channels]]:
        """Yield the values with channels that are always 0, after masks that are kept as factors."""
        zero_channels: dict[fx.Node, Channels] = {}
        for node in self.network.graph.nodes:
            rule = self.rules[node]
            if isinstance(rule, Joining):
                zeros = self._zeros_of_product(node)
            elif isinstance(rule, Passing) and rule.keeps_zero and node.args[0] in zero_channels:
                zeros = _passed_on(rule, zero_channels[node.args[0]])
            else:
                zeros = None
            if zeros is not None:
                zero_channels[node] = zeros
                yield node, zeros

    def _zeros_of_product(self, node: fx.Node) -> Channels | None:
        rank = len(shape_of(node) or ())
        for source in node.all_input_nodes:
            if source.op == "get_attr" and str(source.target).rpartition(".")[2] == SCALE:
                factors = _attribute(self.network.network, str(source.target))
                return Channels(rank - factors.dim(), factors.flatten() == 0)
        return None

    def _needs_of(self, node: fx.Node) -> Iterator[tuple[fx.Node, Need]]:
        """Yield the channels that a node needs of each of its inputs; its users must have been visited."""
        if asks_batch_size_alone(node):
            return
        rule, wanted = self.rules[node], self.wanted(node)
        for source in node.all_input_nodes:
            yield source, Need(node, self._part(node, source, rule, wanted))

    def _part(
        self, node: fx.Node, source: fx.Node, rule: ChannelRule | None, wanted: Channels | None
    ) -> Channels | None:
        if isinstance(rule, Mixing):
            return self._columns(node, source, rule)
        part = None
        if wanted is None:
            return None
        if isinstance(rule, Channelwise):
            part = wanted if wanted.axis == rule.axis else None
        elif isinstance(rule, Passing):
            part = _passed_back(rule, wanted)
        elif isinstance(rule, Joining):
            part = _part_of_product(node, source, wanted)
        elif isinstance(rule, Concatenating) and rule.axis == wanted.axis:
            part = self._part_of_concatenation(node, source, wanted)
        return part

    def _columns(self, node: fx.Node, source: fx.Node, rule: Mixing) -> Channels:
        """Return the inputs of a layer that are not always 0 and have a non-zero weight to a needed output."""
        weight = self.network.network.get_parameter(f"{rule.name}.weight").detach()
        wanted = self.wanted(node)
        if wanted is not None and wanted.axis == rule.axis_out:
            weight = weight[wanted.chosen]
        columns = (weight != 0).transpose(0, 1).flatten(1).any(1)
        zeros = self._zeros.get(source)
        if zeros is not None and zeros.axis == rule.axis_in:
            columns &= ~zeros.chosen
        return Channels(rule.axis_in, _at_least_one(columns))

    def _part_of_concatenation(self, node: fx.Node, source: fx.Node, wanted: Channels) -> Channels | None:
        parts = [part for part in node.args[0] if isinstance(part, fx.Node)]  # type: ignore[union-attr]
        if parts.count(source) != 1:
            return None
        sizes = [(shape_of(part) or ())[wanted.axis] for part in parts]
        start = sum(sizes[: parts.index(source)])
        chosen = wanted.chosen[start : start + sizes[parts.index(source)]]
        return Channels(wanted.axis, _at_least_one(chosen.clone()))

    def _kept(self, node: fx.Node) -> Channels | None:
        """Return the channels of a value to keep; its inputs must have been visited."""
        rule, wanted = self.rules[node], self.wanted(node)
        inputs = [self.kept.get(source) for source in node.all_input_nodes]
        kept = None
        if node.op == "get_attr":
            kept = wanted if self._can_be_cut(node) else None
        elif isinstance(rule, Mixing):
            kept = wanted if wanted is not None and wanted.axis == rule.axis_out else None
        elif all(channels is None for channels in inputs):
            kept = None
        elif isinstance(rule, Channelwise):
            kept = inputs[0]
        elif isinstance(rule, Passing):
            kept = None if inputs[0] is None else _passed_on(rule, inputs[0])
        elif isinstance(rule, Joining):
            kept = wanted
        elif isinstance(rule, Concatenating):
            kept = self._concatenated(node, rule)
        return kept

    def _can_be_cut(self, node: fx.Node) -> bool:
        """Whether a parameter or buffer is used only here, and only in sums and products."""
        is_alone = sum(other.op == "get_attr" and other.target == node.target for other in self.needs) == 1
        return is_alone and all(isinstance(self.rules[user], Joining) for user in node.users)

    def _concatenated(self, node: fx.Node, rule: Concatenating) -> Channels:
        parts = [part for part in node.args[0] if isinstance(part, fx.Node)]  # type: ignore[union-attr]
        chosen = [
            self.kept[part].chosen
            if part in self.kept
            else torch.ones((shape_of(part) or ())[rule.axis], dtype=torch.bool)
            for part in parts
        ]
        return Channels(rule.axis, torch.cat([channels.cpu() for channels in chosen]))


def _part_of_product(node: fx.Node, source: fx.Node, wanted: Channels) -> Channels | None:
    """Return the channels of one operand, which may have fewer axes, or one value for all channels."""
    shape = shape_of(source) or ()
    axis = wanted.axis - (len(shape_of(node) or ()) - len(shape))
    return Channels(axis, wanted.chosen) if axis >= 0 and shape[axis] == len(wanted.chosen) else None


def _attribute(network: nn.Module, name: str) -> Tensor:
    owner, _, last = name.rpartition(".")
    value: Tensor = getattr(network.get_submodule(owner), last)
    return value.detach()


def _at_least_one(chosen: Tensor) -> Tensor:
    """Keep one channel if none is needed, since layers cannot be empty."""
    if not bool(chosen.any()):
        chosen[0] = True
    return chosen


def _passed_on(rule: Passing, channels: Channels) -> Channels | None:
    if channels.axis not in rule.axes:
        return None
    return Channels(rule.axes[channels.axis], channels.chosen.repeat_interleave(rule.repeats.get(channels.axis, 1)))


def _passed_back(rule: Passing, wanted: Channels) -> Channels | None:
    for axis, place in rule.axes.items():
        if place == wanted.axis:
            return Channels(axis, wanted.chosen.view(-1, rule.repeats.get(axis, 1)).any(1))
    return None
