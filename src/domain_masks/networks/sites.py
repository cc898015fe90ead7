"""Determine the channel axis and size of every mask site with one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks.inputs import Signature
from domain_masks.networks.site import Site
from domain_masks.networks.tracing import known_modules, training_mode


def resolve_sites(
    network: nn.Module, sites: Sequence[str | Site], example: tuple[Tensor, ...], signature: Signature
) -> tuple[tuple[Site, ...], int | None]:
    """Return every site with its channel axis and size, from one forward pass, and the number of classes.

    If all sites are given as :class:`Site` and the network does not accept the default example of images, the sites are not
    checked, and the number of classes is None.

    - ``sites``: names, or :class:`Site` to set axis and size explicitly
    - ``example``: the network's inputs, each (N, ...)

    Raises InputError if the network does not accept the example, or a :class:`Site` does not match its input.
    """
    known = dict(network.named_modules())
    names = [site if isinstance(site, str) else site.name for site in sites]
    for name in names:
        if name not in known or not name:
            raise unknown("site", name, known_modules(network))
        if names.count(name) > 1:
            raise InputError(f"site {name!r} is named twice: expected every site once")
    by_hand = [site for site in sites if isinstance(site, Site)]
    may_fail = bool(sites) and len(by_hand) == len(sites) and signature.images
    inputs, logits = _passed(network, names, example, signature, may_fail)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[0] != example[0].shape[0]:
        if may_fail:
            for explicit_site in by_hand:
                _refuse_impossible(explicit_site)
            return tuple(by_hand), None
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"expected a classifier that returns logits (N, C), got {got}")
    resolved = []
    for site, name in zip(sites, names, strict=True):
        if name not in inputs:
            raise InputError(f"site {name!r} is never called with a tensor in a forward pass: choose another module")
        _refuse_input(name, inputs[name], example[0].shape[0])
        shape = tuple(inputs[name].shape)
        if isinstance(site, Site):
            resolved.append(_fitting(site, shape))
        else:
            axis = channel_axis(known[name], shape)
            resolved.append(Site(name, axis, shape[axis]))
    return tuple(resolved), logits.shape[1]


def _passed(
    network: nn.Module, names: Sequence[str], example: tuple[Tensor, ...], signature: Signature, may_fail: bool
) -> tuple[dict[str, Tensor], Any]:
    """Run the network on the example; returns the input of every named module, and the network's output."""
    inputs: dict[str, Tensor] = {}
    hooks = [network.get_submodule(name).register_forward_pre_hook(_recorder(inputs, name)) for name in names]
    try:
        with torch.no_grad(), training_mode(network, False):
            logits = network(*example)
    except Exception as error:
        if may_fail:
            return {}, None
        if signature.images:
            size = tuple(example[0].shape[-2:])
            raise InputError(
                f"the network does not accept images of {size[0]}x{size[1]} pixels ({type(error).__name__}: {error}): "
                "choose a size that it supports; for inputs other than (N, 3, H, W) pass an example_input (in Python)"
            ) from error
        shapes = ", ".join(f"{tuple(value.shape)} {value.dtype}" for value in example)
        raise InputError(
            f"the network does not accept the example_input {shapes} ({type(error).__name__}: {error}): expected its "
            "forward's arguments, with the batch on the first axis"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return inputs, logits


def _refuse_input(name: str, value: Tensor, count: int) -> None:
    if not value.is_floating_point():
        raise InputError(
            f"site {name!r} takes {value.dtype}, which a mask cannot scale: choose a module behind it, such as "
            "the one that takes its output"
        )
    if value.dim() < 2 or value.shape[0] != count:
        raise InputError(
            f"site {name!r} takes a tensor of shape {tuple(value.shape)}, whose first axis is not the batch of {count}: "
            "expected (N, ...), as with batch_first=True; choose another module"
        )


def _refuse_impossible(site: Site) -> None:
    if site.axis == 0 or site.size < 1:
        raise InputError(
            f"site {site.name!r} has axis {site.axis} and size {site.size}: expected an axis but the first, which is "
            "the batch, and a size of at least 1"
        )


def _fitting(site: Site, shape: tuple[int, ...]) -> Site:
    """Return ``site`` if its axis and size are those of an input of ``shape``; raises InputError otherwise."""
    inside = site.axis in {*range(1, len(shape)), *range(1 - len(shape), 0)}
    if not inside or shape[site.axis] != site.size:
        raise InputError(
            f"site {site.name!r} has axis {site.axis} and size {site.size}, but its input has the shape "
            f"(N, {', '.join(map(str, shape[1:]))}): expected one of its axes but the first, and that axis's size"
        )
    return site


def _recorder(inputs: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def record(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            inputs[name] = args[0]

    return record


def channel_axis(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the channel axis of a module's input, inferred from its first layer with weights."""
    if len(shape) == 2:
        return 1
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return 1
        if isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.GroupNorm):
            return 1
        if isinstance(layer, nn.Linear | nn.LayerNorm | nn.RNNBase):
            size = layer.normalized_shape[-1] if isinstance(layer, nn.LayerNorm) else int(_inputs_of(layer))
            return -1 if shape[-1] == size else 1
    return -1 if len(shape) == 3 else 1


def _inputs_of(layer: nn.Linear | nn.RNNBase) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.input_size
