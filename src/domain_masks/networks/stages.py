"""The stages of a network: the modules after which the resolution of its activations decreases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.networks.presets import find_blocks, find_head
from domain_masks.networks.tracing import known_modules, training_mode

Shape = tuple[int, ...]

STAGES: dict[str, tuple[str, ...]] = {
    "ResNet": ("maxpool", "layer1", "layer2", "layer3", "layer4"),
    "SmallConvNet": ("features.block1", "features.block2", "features.block3"),
}
"""Class of the network -> its stages as usually named; those of other networks are determined by resolution."""
_ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def channel_axis_of(shape: Shape) -> int:
    """Return the channel axis of activations of square images: (N, C), (N, T, C), (N, C, H, W) or (N, H, W, C)."""
    if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
        return 3
    return len(shape) - 1 if len(shape) < 4 else 1


def places_of(shape: Shape) -> tuple[int, ...]:
    """Return the axes of activations other than those of batch and channels; empty for (N, C)."""
    return tuple(axis for axis in range(1, len(shape)) if axis != channel_axis_of(shape))


def output_shapes(network: nn.Module, image_size: int) -> dict[str, Shape]:
    """Return module -> shape (1, ...) of its output for one image of ``image_size`` pixels, in the order in which they return.

    Modules that are called more than once, or do not return a single tensor with the batch first, are left out.
    """
    shapes: dict[str, Shape] = {}
    calls: dict[str, int] = {}

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor) and output.dim() > 1 and len(output) == 1:
                shapes[name] = tuple(output.shape)

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(record(name)) for name in known_modules(network)]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), training_mode(network, False):
            network(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: shape for name, shape in shapes.items() if calls[name] == 1}


def stages(network: nn.Module, image_size: int, shapes: dict[str, Shape] | None = None) -> tuple[str, ...]:
    """Return the last module of each stage of ``network``, from the first stage to the last.

    A stage has activations of one resolution; a network with constant resolution has four stages of equally many blocks.

    - ``shapes``: the result of :func:`output_shapes`, if already computed

    Raises InputError if the stages cannot be determined.
    """
    usual = STAGES.get(type(network).__name__, ())
    shapes = output_shapes(network, image_size) if shapes is None else shapes
    if usual and all(name in shapes for name in usual):
        return usual
    by_resolution = _by_resolution(network, shapes)
    if len(by_resolution) >= 3:
        return by_resolution
    blocks = [name for name in find_blocks(network) if name in shapes and len(shapes[name]) > 2]
    if len(blocks) >= 4:
        return tuple(blocks[len(blocks) * quarter // 4 - 1] for quarter in (1, 2, 3, 4))
    if by_resolution:
        return by_resolution
    raise InputError(
        f"the stages of {type(network).__name__} cannot be determined by resolution: name the modules, from "
        f"{', '.join(list(shapes)[:30])}"
    )


def _by_resolution(network: nn.Module, shapes: dict[str, Shape]) -> tuple[str, ...]:
    """Return, for every resolution, the outermost module that ends it and does not contain the end of an earlier one."""
    ends: dict[Shape, list[str]] = {}
    blocks = tuple(f"{block}." for block in find_blocks(network))
    head = find_head(network)
    for name, shape in shapes.items():
        places = tuple(shape[axis] for axis in places_of(shape))
        if name == head:
            break
        # Within a block, a branch may have another resolution than the block's output.
        is_map = len(places) == 2 and max(places) > 1 and not name.startswith(blocks)
        if is_map and not isinstance(network.get_submodule(name), _ADAPTIVE):
            ends.setdefault(places, []).append(name)
    last_modules: list[str] = []
    for names in ends.values():
        free = [name for name in names if not any(earlier.startswith(f"{name}.") for earlier in last_modules)]
        # The outermost module returns after its own children and is therefore the last.
        last_modules.extend(free[-1:])
    return tuple(last_modules)
