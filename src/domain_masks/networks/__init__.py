"""Networks with a boundary and mask sites: by name, or the user's own."""

from domain_masks.networks.backbones import (
    BACKBONES,
    HeadInitialisation,
    build_backbone,
    find_backbone,
    load_weights,
    read_weights,
)
from domain_masks.networks.build import masked
from domain_masks.networks.masked import MaskedNetwork
from domain_masks.networks.multi_head import MultiHeadNetwork, StackedLinear
from domain_masks.networks.network import Network
from domain_masks.networks.presets import Layout, find_head, layout, preset_names
from domain_masks.networks.split import Site

__all__ = [
    "BACKBONES",
    "HeadInitialisation",
    "Layout",
    "MaskedNetwork",
    "MultiHeadNetwork",
    "Network",
    "Site",
    "StackedLinear",
    "build_backbone",
    "find_backbone",
    "find_head",
    "layout",
    "load_weights",
    "masked",
    "preset_names",
    "read_weights",
]
