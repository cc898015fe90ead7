"""The last layer of a network whose outputs have a place in the image, where class activation maps are computed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.networks.network import Network
from domain_masks.networks.presets import find_blocks
from domain_masks.networks.tracing import training_mode
from domain_masks.randomness import generator

_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.MaxPool2d)
"""Their inputs tell more exactly where something is."""
MOST_PREFIX_TOKENS = 8
"""Class, distillation and register tokens in front of those of the image."""


@dataclass(frozen=True)
class MapLayer:
    """A module whose output has a height and a width.

    - ``name``: its qualified name in the user's network
    - ``height``, ``width``: of the grid, for images of the network's own size
    - ``axis``: 1 for an output (N, K, H, W), -1 for (N, H, W, K) and for tokens (N, T, K)
    - ``prefix``: how many tokens precede those of the image; None for an output with four axes
    """

    name: str
    height: int
    width: int
    axis: int
    prefix: int | None = None

    def channels_first(self, output: Tensor) -> Tensor:
        """Return the layer's output as (N, K, H, W), without tokens that have no place in the image."""
        if self.prefix is not None:
            output = output[:, self.prefix :].reshape(len(output), self.height, self.width, -1)
        return output.movedim(self.axis, 1)

    def restored(self, channels_first: Tensor, output: Tensor) -> Tensor:
        """Return a copy of (N, K, H, W) in the shape of the layer's ``output``, with that output's own prefix tokens."""
        # A copy, since the module behind may work in place.
        own = channels_first.movedim(1, self.axis).clone()
        return own if self.prefix is None else torch.cat([output[:, : self.prefix], own.flatten(1, 2)], 1)


def find_map_layer(network: Network) -> MapLayer:
    """Return the last module, outside of building blocks, whose output has positions on which the logits depend.

    For a convolutional network this is the last block, or a layer behind it; for a vision transformer that classifies by a
    class token the last block but one, since the last block's image tokens do not reach the logits.

    Raises InputError if there is none, or the network does not take images.
    """
    blocks = [f"{name}." for name in find_blocks(network.network)]
    seen: dict[str, tuple[MapLayer, Tensor]] = {}
    called: Counter[str] = Counter()

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            called[name] += 1
            layer = _placed(name, output) if isinstance(output, Tensor) else None
            if layer is not None and output.requires_grad:
                seen[name] = (layer, output)

        return hook

    modules = {name: module for name, module in network.network.named_modules() if name}
    outside = {
        name: module
        for name, module in modules.items()
        if not name.startswith(tuple(blocks)) and not isinstance(module, _POOLS)
    }
    handles = [module.register_forward_hook(record(name)) for name, module in outside.items()]
    parameter = next(network.network.parameters())
    size = network.image_size
    image = torch.rand((2, 3, size, size), generator=generator(0, "map layer", 0)).to(parameter) - 0.5
    try:
        with torch.enable_grad(), training_mode(network, False):
            logits = network(image.requires_grad_())
    except Exception as error:
        raise InputError(
            f"the network cannot be run on an image ({error}): there is no class activation map"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    once = [(layer, output) for name, (layer, output) in seen.items() if called[name] == 1]
    outputs = [output for _, output in once]
    gradients = torch.autograd.grad(logits.square().sum(), outputs, allow_unused=True) if outputs else ()
    for (layer, _), gradient in zip(reversed(once), reversed(gradients), strict=True):
        if gradient is not None and layer.channels_first(gradient).any():
            return layer
    raise InputError(
        "no module of the network has an output with a height and a width on which its logits depend: there is no class "
        "activation map"
    )


def _placed(name: str, output: Tensor) -> MapLayer | None:
    """Return the layer of an output (N, K, H, W), (N, H, W, K) or (N, T, K) with more than one position, else None."""
    if output.dim() == 4:
        _, first, second, third = output.shape
        if second == third > 1 and not first == second > third:
            return MapLayer(name, second, third, 1)
        if first == second > 1:
            return MapLayer(name, first, second, -1)
    elif output.dim() == 3:
        side = math.isqrt(output.shape[1])
        prefix = output.shape[1] - side**2
        if side > 1 and prefix <= MOST_PREFIX_TOKENS:
            return MapLayer(name, side, side, -1, prefix)
    return None
