"""How the channels of a layer's output depend on those of its input, for folding and pruning."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from domain_masks.deploy.exporting.layer_graph import LayerGraph, shape_of, site_input
from domain_masks.networks.site import apply_mask

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Mixing:
    """A linear layer, or a convolution of one group: every output channel depends on all input channels.

    - ``axis_in``, ``axis_out``: the channel axis of input and output
    """

    name: str
    axis_in: int
    axis_out: int


@dataclass(frozen=True)
class Channelwise:
    """A layer with separate weights per channel: batch norm or a depthwise convolution. The axis is 1."""

    name: str
    axis: int = 1


@dataclass(frozen=True)
class Grouped:
    """A convolution with several groups."""

    name: str


@dataclass(frozen=True)
class Passing:
    """An operation without weights that keeps channels separate.

    - ``axes``: input axis -> output axis, for the axes that can hold channels
    - ``repeats``: input axis -> how many adjacent channels one becomes when axes are flattened
    - ``homogeneous``: whether a non-negative factor on the input is the same factor on the output
    - ``keeps_zero``: whether a channel that is 0 stays 0
    """

    axes: Mapping[int, int]
    repeats: Mapping[int, int]
    homogeneous: bool
    keeps_zero: bool


@dataclass(frozen=True)
class Joining:
    """The elementwise sum, difference or product of tensors."""


@dataclass(frozen=True)
class Concatenating:
    """The concatenation of tensors along ``axis``."""

    axis: int


ChannelRule = Mixing | Channelwise | Grouped | Passing | Joining | Concatenating

# Activations that are bounded or curved are not homogeneous.
_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.modules.dropout._DropoutNd)
_KEEP_ZERO = (nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Tanh, nn.ELU, nn.SELU, nn.CELU, nn.Mish, nn.Softsign)
_NEITHER = (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus)
_POOLS = (
    *(getattr(nn, f"{kind}Pool{rank}d") for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg") for rank in (1, 2)),
)
_HOMOGENEOUS_CALLS: tuple[Any, ...] = (
    site_input,
    functional.relu,
    torch.relu,
    torch.relu_,
    functional.leaky_relu,
    functional.dropout,
    functional.dropout2d,
    "relu",
    "relu_",
    "contiguous",
    "clone",
)
_KEEP_ZERO_CALLS: tuple[Any, ...] = (functional.relu6, functional.hardswish, functional.silu, functional.gelu)
_KEEP_ZERO_CALLS += (torch.tanh, "tanh")
_NEITHER_CALLS: tuple[Any, ...] = (torch.sigmoid, functional.hardsigmoid, functional.softplus, "sigmoid")
_POOL_CALLS: tuple[Any, ...] = (
    functional.adaptive_avg_pool2d,
    functional.adaptive_max_pool2d,
    functional.avg_pool2d,
    functional.max_pool2d,
    torch.max_pool2d,
)
_JOINING_CALLS: tuple[Any, ...] = (operator.add, operator.iadd, operator.mul, operator.imul, operator.sub)
_JOINING_CALLS += (torch.add, torch.mul, torch.sub, "add", "add_", "mul", "mul_")


def channel_rule(network: LayerGraph, node: fx.Node) -> ChannelRule | None:
    """Return how the channels of a node depend on its inputs' channels; None if unknown."""
    shape = shape_of(node)
    if shape is None or len(shape) < 2:
        return None
    if node.op == "call_module":
        return _of_module(network, node)
    if node.op not in ("call_function", "call_method"):
        return None
    first = node.args[0] if node.args else None
    if node.target in (torch.cat, torch.concat) and isinstance(first, list | tuple):
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        return Concatenating(axis % len(shape)) if isinstance(axis, int) else None
    if node.target in _JOINING_CALLS:
        return Joining()
    source = shape_of(first) if isinstance(first, fx.Node) else None
    return None if source is None else _of_call(node, source, shape)


def _of_module(network: LayerGraph, node: fx.Node) -> ChannelRule | None:
    module = network.network.get_submodule(str(node.target))
    source = shape_of(node.args[0]) if node.args and isinstance(node.args[0], fx.Node) else None
    if source is None or len(node.all_input_nodes) != 1:
        return None
    if isinstance(module, nn.Linear | Convolution | nn.modules.batchnorm._BatchNorm):
        return None if network.layer(node) is None else _of_weights(module, str(node.target), source)
    return None if module._forward_hooks or module._forward_pre_hooks else _of_operation(module, source)


def _of_weights(
    module: nn.Linear | Convolution | nn.modules.batchnorm._BatchNorm, name: str, source: tuple[int, ...]
) -> ChannelRule | None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return Channelwise(name) if module.running_mean is not None else None
    has_batch = isinstance(module, nn.Linear) or len(source) == module.weight.dim()
    if not has_batch or not _is_linear_in_its_weights(module, source):
        return None
    if isinstance(module, nn.Linear):
        return Mixing(name, len(source) - 1, len(source) - 1)
    if module.groups == 1:
        return Mixing(name, 1, 1)
    return Channelwise(name) if module.groups == module.in_channels == module.out_channels else Grouped(name)


def _of_operation(module: nn.Module, source: tuple[int, ...]) -> Passing | None:
    if isinstance(module, nn.Flatten):
        return _flatten(source, module.start_dim, module.end_dim)
    if type(module) in _POOLS:
        return _pool(source)
    for kinds, homogeneous, keeps_zero in (
        (_HOMOGENEOUS, True, True),
        (_KEEP_ZERO, False, True),
        (_NEITHER, False, False),
    ):
        if isinstance(module, kinds):
            return _same(source, homogeneous, keeps_zero)
    return None


def _of_call(node: fx.Node, source: tuple[int, ...], shape: tuple[int, ...]) -> ChannelRule | None:
    for calls, homogeneous, keeps_zero in (
        (_HOMOGENEOUS_CALLS, True, True),
        (_KEEP_ZERO_CALLS, False, True),
        (_NEITHER_CALLS, False, False),
    ):
        if node.target in calls:
            return _same(source, homogeneous, keeps_zero)
    if node.target in _POOL_CALLS:
        return _pool(source)
    for targets, rule in _SHAPING:
        if node.target in targets:
            return rule(node, source, shape)
    return None


def _same(source: tuple[int, ...], homogeneous: bool, keeps_zero: bool) -> Passing:
    return Passing({axis: axis for axis in range(1, len(source))}, {}, homogeneous, keeps_zero)


def _pool(source: tuple[int, ...]) -> Passing | None:
    return Passing({1: 1}, {}, True, True) if len(source) > 2 else None


def _flatten(source: tuple[int, ...], start: int, end: int) -> Passing | None:
    start, end = start % len(source), end % len(source)
    if start < 1:
        return None
    axes = {axis: axis for axis in range(1, start + 1)} | {
        axis: axis - (end - start) for axis in range(end + 1, len(source))
    }
    return Passing(axes, {start: prod(source[start + 1 : end + 1])}, True, True)


def _flattening_call(node: fx.Node, source: tuple[int, ...], _: tuple[int, ...]) -> Passing | None:
    start = node.kwargs.get("start_dim", node.args[1] if len(node.args) > 1 else 0)
    end = node.kwargs.get("end_dim", node.args[2] if len(node.args) > 2 else -1)
    return _flatten(source, start, end) if isinstance(start, int) and isinstance(end, int) else None


def _reshaping_call(_: fx.Node, source: tuple[int, ...], shape: tuple[int, ...]) -> Passing | None:
    """Recognise ``x.view(x.size(0), -1)`` as flattening."""
    return _flatten(source, 1, -1) if shape == (source[0], prod(source[1:])) else None


def _mean_call(node: fx.Node, source: tuple[int, ...], shape: tuple[int, ...]) -> Passing | None:
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    if not isinstance(dim, int | list | tuple):
        return None
    reduced = {axis % len(source) for axis in ([dim] if isinstance(dim, int) else dim) if isinstance(axis, int)}
    kept = [axis for axis in range(len(source)) if axis not in reduced]
    axes = {axis: axis if len(shape) == len(source) else position for position, axis in enumerate(kept) if axis > 0}
    return Passing(axes, {}, True, True) if 0 not in reduced else None


def _permuting_call(node: fx.Node, source: tuple[int, ...], _: tuple[int, ...]) -> Passing | None:
    order = node.args[1] if len(node.args) == 2 and isinstance(node.args[1], list | tuple) else node.args[1:]
    positions = {axis % len(source): position for position, axis in enumerate(order) if isinstance(axis, int)}
    if len(positions) != len(source):
        return None
    return Passing({axis: position for axis, position in positions.items() if axis > 0}, {}, True, True)


def _transposing_call(node: fx.Node, source: tuple[int, ...], _: tuple[int, ...]) -> Passing | None:
    swapped = [axis % len(source) for axis in node.args[1:] if isinstance(axis, int)]
    if len(swapped) != 2:
        return None
    first, second = swapped
    axes = {axis: axis for axis in range(len(source))} | {first: second, second: first}
    return Passing(axes, {}, True, True) if 0 not in swapped else None


def _selecting_call(node: fx.Node, source: tuple[int, ...], _: tuple[int, ...]) -> Passing | None:
    """Recognise the selection of one position, such as a transformer's class token: ``x[:, 0]``."""
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    if not all(isinstance(part, int) or part == slice(None) for part in index) or isinstance(index[0], int):
        return None
    kept = [axis for axis in range(len(source)) if axis >= len(index) or not isinstance(index[axis], int)]
    return Passing({axis: position for position, axis in enumerate(kept) if axis > 0}, {}, True, True)


_Shaping = Callable[[fx.Node, tuple[int, ...], tuple[int, ...]], Passing | None]
_SHAPING: tuple[tuple[tuple[Any, ...], _Shaping], ...] = (
    ((torch.flatten, "flatten"), _flattening_call),
    ((torch.reshape, "reshape", "view"), _reshaping_call),
    ((torch.mean, "mean"), _mean_call),
    ((torch.permute, "permute"), _permuting_call),
    ((torch.transpose, "transpose"), _transposing_call),
    ((operator.getitem,), _selecting_call),
)


def is_reshape(node: fx.Node) -> bool:
    """Whether a node may contain hard-coded sizes, which pruning would invalidate."""
    return node.target in (torch.reshape, "reshape", "view")


def scale_columns(layer: nn.Linear | Convolution, factors: Tensor) -> None:
    """Scale a layer's weights so that ``layer(x)`` becomes ``layer(factors * x)``; ``factors`` is (K,)."""
    shape = [1] * layer.weight.dim()
    shape[1] = -1
    with torch.no_grad():
        if isinstance(layer, nn.Linear) or layer.groups == 1:
            layer.weight.mul_(factors.to(layer.weight).view(shape))
            return
        by_group = factors.to(layer.weight).view(layer.groups, 1, -1)
        outputs = layer.weight.view(layer.groups, layer.out_channels // layer.groups, layer.weight.shape[1], -1)
        outputs.mul_(by_group.unsqueeze(-1))


def _is_linear_in_its_weights(layer: nn.Linear | Convolution, source: tuple[int, ...]) -> bool:
    """Whether scaling the weights scales the inputs; tested numerically for subclasses, which may standardise weights."""
    if type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d):
        return True
    generator = torch.Generator().manual_seed(0)
    axis = len(source) - 1 if isinstance(layer, nn.Linear) else 1
    factors = torch.rand(source[axis], generator=generator).to(layer.weight) + 0.5
    inputs = torch.rand(source, generator=generator).to(layer.weight)
    scaled = deepcopy(layer)
    scale_columns(scaled, factors)
    with torch.no_grad():
        expected = layer(apply_mask(inputs, factors.expand(source[0], -1), axis))
        return torch.allclose(scaled(inputs), expected, rtol=1e-4, atol=1e-5)
