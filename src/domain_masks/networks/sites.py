"""Find the channel axis and the size of every mask site by looking at one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks.split import Site, known_modules, training_mode


def resolve_sites(network: nn.Module, sites: Sequence[str | Site], example: Tensor) -> tuple[tuple[Site, ...], int]:
    """Find channel axis and size of every site by one forward pass; also returns the number of classes.

    - ``sites``: names, or :class:`Site` where the axis is to be set by hand
    - ``example``: (1, 3, H, W)

    Raises InputError where the network does not accept the example, or a :class:`Site` does not fit its input.
    """
    known = dict(network.named_modules())
    shapes: dict[str, tuple[int, ...]] = {}
    names = [site if isinstance(site, str) else site.name for site in sites]
    hooks = []
    for name in names:
        if name not in known or not name:
            raise unknown("site", name, known_modules(network))
        if names.count(name) > 1:
            raise InputError(f"site {name!r} is named twice: expected every site once")
        hooks.append(known[name].register_forward_pre_hook(_recorder(shapes, name)))
    try:
        with torch.no_grad(), training_mode(network, False):
            logits = network(example)
    except Exception as error:
        size = tuple(example.shape[-2:])
        raise InputError(
            f"the network does not accept images of {size[0]}x{size[1]} pixels ({type(error).__name__}: {error}): "
            "choose the size that it was made for"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"expected a classifier that returns logits (N, C), got {got}")
    resolved = []
    for site, name in zip(sites, names, strict=True):
        if name not in shapes:
            raise InputError(f"site {name!r} is never called with a tensor in a forward pass: choose another module")
        if isinstance(site, Site):
            resolved.append(_fitting(site, shapes[name]))
        else:
            axis = channel_axis(known[name], shapes[name])
            resolved.append(Site(name, axis, shapes[name][axis]))
    return tuple(resolved), logits.shape[1]


def _fitting(site: Site, shape: tuple[int, ...]) -> Site:
    """Return ``site`` if its axis and size are those of an input of ``shape``; raises InputError otherwise."""
    inside = site.axis in {*range(1, len(shape)), *range(1 - len(shape), 0)}
    if not inside or shape[site.axis] != site.size:
        raise InputError(
            f"site {site.name!r} has axis {site.axis} and size {site.size}, but its input has the shape "
            f"(N, {', '.join(map(str, shape[1:]))}): expected one of its axes but the first, and that axis's size"
        )
    return site


def _recorder(shapes: dict[str, tuple[int, ...]], name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def record(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            shapes[name] = tuple(args[0].shape)

    return record


def channel_axis(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Tell the channel axis of a module's input from its first layer with weights."""
    if len(shape) == 2:
        return 1
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            return 1
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return 1
        if isinstance(layer, nn.Linear | nn.LayerNorm):
            size = layer.in_features if isinstance(layer, nn.Linear) else layer.normalized_shape[-1]
            return -1 if shape[-1] == size else 1
    return -1 if len(shape) == 3 else 1
