"""The stages of a network: the modules behind which its activations become coarser, for methods that look into them."""

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
"""Class of the network -> its stages, where these are the usual ones of its papers; all others are found."""
_ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def channel_axis_of(shape: Shape) -> int:
    """Return the channel axis of activations of square images: (N, C), (N, T, C), (N, C, H, W) or (N, H, W, C)."""
    if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
        return 3
    return len(shape) - 1 if len(shape) < 4 else 1


def places_of(shape: Shape) -> tuple[int, ...]:
    """Return the axes of activations that are neither that of the batch nor that of the channels; none of (N, C)."""
    return tuple(axis for axis in range(1, len(shape)) if axis != channel_axis_of(shape))


def output_shapes(network: nn.Module, image_size: int) -> dict[str, Shape]:
    """Return module -> the shape (1, ...) of its output for one image of ``image_size`` pixels, in the order of their ends.

    Modules that are called more than once, or not for one tensor whose first axis is the batch, are left out.
    """
    shapes: dict[str, Shape] = {}
    calls: dict[str, int] = {}

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor) and output.dim() > 1 and len(output) == 1:
                shapes[name] = tuple(output.shape)

        return note

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
    """Return the modules with which the stages of ``network`` end, the first ones first.

    A stage has activations of one resolution; a network whose resolution stays has four, of as many blocks each.

    - ``shapes``: what :func:`output_shapes` returned, where that is known

    Raises InputError where no stage can be told.
    """
    usual = STAGES.get(type(network).__name__, ())
    shapes = output_shapes(network, image_size) if shapes is None else shapes
    if usual and all(name in shapes for name in usual):
        return usual
    found = _by_resolution(network, shapes)
    if len(found) >= 3:
        return found
    blocks = [name for name in find_blocks(network) if name in shapes and len(shapes[name]) > 2]
    if len(blocks) >= 4:
        return tuple(blocks[len(blocks) * quarter // 4 - 1] for quarter in (1, 2, 3, 4))
    if found:
        return found
    raise InputError(
        f"{type(network).__name__} has no stages that could be told by their resolution: name the modules, among "
        f"{', '.join(list(shapes)[:30])}"
    )


def _by_resolution(network: nn.Module, shapes: dict[str, Shape]) -> tuple[str, ...]:
    """Return, for every resolution of maps, the outermost module that ends it and holds the end of no earlier one."""
    ends: dict[Shape, list[str]] = {}
    blocks = tuple(f"{block}." for block in find_blocks(network))
    head = find_head(network)
    for name, shape in shapes.items():
        places = tuple(shape[axis] for axis in places_of(shape))
        if name == head:
            break
        # Within a block, where one way may be at another resolution than the block's own output, nothing is on the trunk.
        is_map = len(places) == 2 and max(places) > 1 and not name.startswith(blocks)
        if is_map and not isinstance(network.get_submodule(name), _ADAPTIVE):
            ends.setdefault(places, []).append(name)
    found: list[str] = []
    for names in ends.values():
        free = [name for name in names if not any(earlier.startswith(f"{name}.") for earlier in found)]
        # Of the modules that end with the last one, the outermost: it is behind its own parts in this order.
        found.extend(free[-1:])
    return tuple(found)
