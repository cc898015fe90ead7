"""Which channels of which value in a network are needed: those that reach the logits by a weight that is not 0.

What a layer multiplies with 0 need not be computed, and so on upwards through everything that treats channels one by one. A
value that several others use is as wide as they need it together; each then takes its own part of it.
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
    """Some of the channels of a value.

    - ``axis``: along which they lie
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
    """What ``user`` needs of a value: some channels, or everything where ``channels`` is None."""

    user: fx.Node
    channels: Channels | None


class ChannelUsage:
    """What every value of a network is needed for, and how wide it can therefore be made.

    - ``needs``: value -> what each of its users needs of it
    - ``kept``: value -> the channels that stay; values that stay whole are absent
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
        """Return the channels that all users of a value need together; None for everything."""
        channels = [need.channels for need in self.needs[node]]
        if not channels or any(one is None for one in channels):
            return None
        found = [one for one in channels if one is not None]
        if len({one.axis for one in found}) != 1:
            return None
        return Channels(found[0].axis, _not_none(torch.stack([one.chosen for one in found]).any(0)))

    def needed_by(self, source: fx.Node, user: fx.Node) -> Channels | None:
        """Return the channels of ``source`` that one user needs; None for everything."""
        return next((need.channels for need in self.needs[source] if need.user is user), None)

    def _known_zeros(self) -> Iterator[tuple[fx.Node, Channels]]:
        """Yield the values with channels that are always 0, behind masks that are kept as factors."""
        found: dict[fx.Node, Channels] = {}
        for node in self.network.graph.nodes:
            known = self.rules[node]
            if isinstance(known, Joining):
                zeros = self._zeros_of_product(node)
            elif isinstance(known, Passing) and known.keeps_zero and node.args[0] in found:
                zeros = _passed_on(known, found[node.args[0]])
            else:
                zeros = None
            if zeros is not None:
                found[node] = zeros
                yield node, zeros

    def _zeros_of_product(self, node: fx.Node) -> Channels | None:
        rank = len(shape_of(node) or ())
        for source in node.all_input_nodes:
            if source.op == "get_attr" and str(source.target).rpartition(".")[2] == SCALE:
                factors = _attribute(self.network.network, str(source.target))
                return Channels(rank - factors.dim(), factors.flatten() == 0)
        return None

    def _needs_of(self, node: fx.Node) -> Iterator[tuple[fx.Node, Need]]:
        """Yield what a node needs of each of its inputs; the needs of its users are known before."""
        if asks_batch_size_alone(node):
            return
        known, wanted = self.rules[node], self.wanted(node)
        for source in node.all_input_nodes:
            yield source, Need(node, self._part(node, source, known, wanted))

    def _part(
        self, node: fx.Node, source: fx.Node, known: ChannelRule | None, wanted: Channels | None
    ) -> Channels | None:
        if isinstance(known, Mixing):
            return self._columns(node, source, known)
        part = None
        if wanted is None:
            return None
        if isinstance(known, Channelwise):
            part = wanted if wanted.axis == known.axis else None
        elif isinstance(known, Passing):
            part = _passed_back(known, wanted)
        elif isinstance(known, Joining):
            part = _part_of_product(node, source, wanted)
        elif isinstance(known, Concatenating) and known.axis == wanted.axis:
            part = self._part_of_concatenation(node, source, wanted)
        return part

    def _columns(self, node: fx.Node, source: fx.Node, known: Mixing) -> Channels:
        """Return the inputs of a layer that some output which is needed has a weight for, and that are not always 0."""
        weight = self.network.network.get_parameter(f"{known.name}.weight").detach()
        wanted = self.wanted(node)
        if wanted is not None and wanted.axis == known.axis_out:
            weight = weight[wanted.chosen]
        columns = (weight != 0).transpose(0, 1).flatten(1).any(1)
        zeros = self._zeros.get(source)
        if zeros is not None and zeros.axis == known.axis_in:
            columns &= ~zeros.chosen
        return Channels(known.axis_in, _not_none(columns))

    def _part_of_concatenation(self, node: fx.Node, source: fx.Node, wanted: Channels) -> Channels | None:
        parts = [part for part in node.args[0] if isinstance(part, fx.Node)]  # type: ignore[union-attr]
        if parts.count(source) != 1:
            return None
        sizes = [(shape_of(part) or ())[wanted.axis] for part in parts]
        start = sum(sizes[: parts.index(source)])
        chosen = wanted.chosen[start : start + sizes[parts.index(source)]]
        return Channels(wanted.axis, _not_none(chosen.clone()))

    def _kept(self, node: fx.Node) -> Channels | None:
        """Return what stays of a value; its inputs have been decided before."""
        known, wanted = self.rules[node], self.wanted(node)
        inputs = [self.kept.get(source) for source in node.all_input_nodes]
        kept = None
        if node.op == "get_attr":
            kept = wanted if self._can_be_cut(node) else None
        elif isinstance(known, Mixing):
            kept = wanted if wanted is not None and wanted.axis == known.axis_out else None
        elif all(one is None for one in inputs):
            kept = None
        elif isinstance(known, Channelwise):
            kept = inputs[0]
        elif isinstance(known, Passing):
            kept = None if inputs[0] is None else _passed_on(known, inputs[0])
        elif isinstance(known, Joining):
            kept = wanted
        elif isinstance(known, Concatenating):
            kept = self._concatenated(node, known)
        return kept

    def _can_be_cut(self, node: fx.Node) -> bool:
        """Whether a parameter or buffer is used here alone, in a sum or product."""
        is_alone = sum(other.op == "get_attr" and other.target == node.target for other in self.needs) == 1
        return is_alone and all(isinstance(self.rules[user], Joining) for user in node.users)

    def _concatenated(self, node: fx.Node, known: Concatenating) -> Channels:
        parts = [part for part in node.args[0] if isinstance(part, fx.Node)]  # type: ignore[union-attr]
        chosen = [
            self.kept[part].chosen
            if part in self.kept
            else torch.ones((shape_of(part) or ())[known.axis], dtype=torch.bool)
            for part in parts
        ]
        return Channels(known.axis, torch.cat([one.cpu() for one in chosen]))


def _part_of_product(node: fx.Node, source: fx.Node, wanted: Channels) -> Channels | None:
    """Return the channels of one factor or summand, which may have fewer axes, or one value for all channels."""
    shape = shape_of(source) or ()
    axis = wanted.axis - (len(shape_of(node) or ()) - len(shape))
    return Channels(axis, wanted.chosen) if axis >= 0 and shape[axis] == len(wanted.chosen) else None


def _attribute(network: nn.Module, name: str) -> Tensor:
    owner, _, last = name.rpartition(".")
    value: Tensor = getattr(network.get_submodule(owner), last)
    return value.detach()


def _not_none(chosen: Tensor) -> Tensor:
    """Keep one channel where none is needed: no layer is without any."""
    if not bool(chosen.any()):
        chosen[0] = True
    return chosen


def _passed_on(known: Passing, channels: Channels) -> Channels | None:
    if channels.axis not in known.axes:
        return None
    return Channels(known.axes[channels.axis], channels.chosen.repeat_interleave(known.repeats.get(channels.axis, 1)))


def _passed_back(known: Passing, wanted: Channels) -> Channels | None:
    for axis, place in known.axes.items():
        if place == wanted.axis:
            return Channels(axis, wanted.chosen.view(-1, known.repeats.get(axis, 1)).any(1))
    return None
