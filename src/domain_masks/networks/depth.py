"""The depth of a network's parameters, for learning rates that fall from layer to layer."""

from __future__ import annotations

from torch import nn

from domain_masks.networks.presets import find_blocks

_NORMALISING = ("Norm", "Affine")


def parameter_depths(network: nn.Module) -> dict[str, int]:
    """Return name of a parameter -> its layer, counted from 0 at the input, in the order in which modules are declared.

    A block (residual, inverted, transformer, ...) is one layer, and so is every other module with parameters of its own.
    Normalisation belongs to the layer before it, and what stands before the first block to one layer, the stem. timm's networks
    that say how their layers are grouped are taken by their word.
    """
    matcher = getattr(network, "group_matcher", None)
    if matcher is not None:
        from timm.models import group_parameters  # noqa: PLC0415 - a second to import

        depths: dict[str, int] = group_parameters(network, matcher(coarse=False), reverse=True)
        return {name: depth for name, depth in depths.items() if name in dict(network.named_parameters())}
    blocks = find_blocks(network)
    places: dict[str, int] = {}
    depth, last = -1, None
    for name, module in network.named_modules():
        own = [f"{name}.{parameter}".lstrip(".") for parameter, _ in module.named_parameters(recurse=False)]
        if not own:
            continue
        block = next((block for block in blocks if f"{name}.".startswith(f"{block}.")), None)
        in_stem = bool(blocks) and block is None and last is None
        normalises = any(word in type(module).__name__ for word in _NORMALISING)
        if depth < 0 or not (in_stem or (block is not None and block == last) or (block is None and normalises)):
            depth += 1
        last = block if block is not None else last
        places |= dict.fromkeys(own, depth)
    return places


def module_depths(network: nn.Module) -> dict[str, int]:
    """Return name of a module -> its layer, counted as :func:`parameter_depths` does.

    A module that holds several layers belongs to the lowest of them, and one without parameters to the layer before it.
    """
    depths = parameter_depths(network)
    of = {id(parameter): depths[name] for name, parameter in network.named_parameters() if name in depths}
    layers: dict[str, int] = {}
    layer = 0
    for name, module in network.named_modules():
        layer = min((of[id(parameter)] for parameter in module.parameters() if id(parameter) in of), default=layer)
        layers[name] = layer
    return layers
