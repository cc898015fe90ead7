"""Default boundaries and mask sites, by the network's class or by its blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks.site import Site
from domain_masks.networks.tracing import known_modules

_BLOCK = re.compile(r"(Block(V2)?|Bottleneck|InvertedResidual|MBConv|EncoderLayer|Fire|Inception[A-E]?)$")


@dataclass(frozen=True)
class Layout:
    """The mask sites and the boundary of one network."""

    sites: tuple[str | Site, ...]
    boundary: str


def _alexnet(_: nn.Module) -> tuple[str, ...]:
    return ("classifier.1", "classifier.4", "classifier.6")


def _vgg(_: nn.Module) -> tuple[str, ...]:
    return ("classifier.0", "classifier.3", "classifier.6")


def _resnet_paper(network: nn.Module) -> tuple[str, ...]:
    blocks = [name for name, _ in network.named_modules() if re.fullmatch(r"layer4\.\d+", name)]
    return (blocks[-1] if blocks else "layer4", "fc")


PRESETS: dict[str, dict[str, Callable[[nn.Module], tuple[str, ...]]]] = {
    "AlexNet": {"paper": _alexnet},
    "VGG": {"paper": _vgg},
    "ResNet": {
        "paper": _resnet_paper,
        "last-stage": lambda _: ("layer4", "fc"),
        "released-code": lambda _: ("layer3", "layer4", "fc"),
    },
    "SmallConvNet": {"paper": lambda _: ("classifier.hidden", "classifier.head")},
}
"""Class of the network -> name of the preset -> its sites. All other networks have only ``last-block``.

A preset is not available for a network with the same class name but without these modules.
"""


def _own_presets(network: nn.Module) -> dict[str, tuple[str, ...]]:
    modules = {name for name, _ in network.named_modules()}
    presets = {name: sites(network) for name, sites in PRESETS.get(type(network).__name__, {}).items()}
    return {name: sites for name, sites in presets.items() if modules.issuperset(sites)}


def find_head(network: nn.Module) -> str:
    """Return the name of the last linear layer, which computes the logits, or else of the last 1x1 convolution.

    Raises InputError if the network has neither.
    """
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name]
    if not names:
        names = [
            name for name, module in network.named_modules() if isinstance(module, nn.Conv2d) and _is_pointwise(module)
        ]
        names.sort(key=lambda name: name.rpartition(".")[2] in ("fc", "head", "classifier"))
    # Distilled transformers have a second head for the distillation loss.
    names = [name for name in names if "_dist" not in name or name.replace("_dist", "") not in names]
    if not names:
        raise InputError(
            "the network has no linear layer or 1x1 convolution as its head: expected a network that ends in one"
        )
    return names[-1]


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return all(size == 1 for size in layer.kernel_size)


def find_blocks(network: nn.Module) -> list[str]:
    """Return the names of the outermost building blocks (residual, inverted, transformer, ...) in order."""
    blocks: list[str] = []
    for name, module in network.named_modules():
        is_block = bool(name) and _BLOCK.search(type(module).__name__) is not None
        if is_block and not (blocks and name.startswith(blocks[-1] + ".")):
            blocks.append(name)
    return blocks


def find_last_block(network: nn.Module) -> str | None:
    """Return the name of the last outermost building block, or None."""
    blocks = find_blocks(network)
    return blocks[-1] if blocks else None


def preset_names(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the site presets of ``network``; the first is the default."""
    own = tuple(_own_presets(network))
    return own if own else (("last-block",) if find_last_block(network) else ())


def layout(network: nn.Module, sites: Sequence[str | Site] = (), boundary: str | None = None) -> Layout:
    """Return sites and boundary of ``network``.

    - ``sites``: empty for the default, the name of one preset, or names of modules (or :class:`Site`)
    - ``boundary``: name of a module; None: the first site

    Raises InputError for a name that is neither a preset nor a module, and if the network has no default.
    """
    presets = preset_names(network)
    chosen: tuple[str | Site, ...]
    if not sites:
        if not presets:
            raise InputError(
                f"{type(network).__name__} has no default mask sites: name the modules whose inputs are to be masked, "
                f"from {', '.join(known_modules(network)[:30])}"
            )
        chosen = _preset(network, presets[0])
    elif len(sites) == 1 and isinstance(sites[0], str) and sites[0] in {*presets, "last-block"}:
        chosen = _preset(network, sites[0])
    else:
        modules = known_modules(network)
        for site in sites:
            name = site if isinstance(site, str) else site.name
            if name not in modules:
                raise unknown("site", name, [*presets, *modules])
        chosen = tuple(sites)
    if boundary is not None and boundary not in known_modules(network):
        raise unknown("boundary", boundary, known_modules(network))
    first = chosen[0] if isinstance(chosen[0], str) else chosen[0].name
    return Layout(chosen, boundary or first)


def _preset(network: nn.Module, name: str) -> tuple[str | Site, ...]:
    own = _own_presets(network)
    if name in own:
        return own[name]
    block = find_last_block(network)
    if block is None:
        raise unknown("site", name, [*own, *known_modules(network)])
    return (block, find_head(network))
