"""Networks with a boundary and mask sites: by name, or the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.networks.architecture import Architecture
    from domain_masks.networks.backbones import (
        BACKBONES,
        HeadInitialisation,
        architecture_of,
        build_architecture,
        build_backbone,
        find_backbone,
        with_new_head,
    )
    from domain_masks.networks.by_domain import DomainNetwork
    from domain_masks.networks.given_backbones import register_backbone
    from domain_masks.networks.mask_wrapping import masked
    from domain_masks.networks.masked import MaskedNetwork
    from domain_masks.networks.multi_head import MultiHeadNetwork, StackedLinear
    from domain_masks.networks.network import Network
    from domain_masks.networks.presets import Layout, find_head, layout, preset_names
    from domain_masks.networks.published import INTERPOLATIONS, Interpolation, Preparation, preparation_of
    from domain_masks.networks.represented import RepresentedNetwork
    from domain_masks.networks.signature import differing, signature, signature_digest
    from domain_masks.networks.site import Site
    from domain_masks.networks.weights_files import read_weights
    from domain_masks.networks.weights_loading import load_weights

__all__ = [
    "BACKBONES",
    "INTERPOLATIONS",
    "Architecture",
    "DomainNetwork",
    "HeadInitialisation",
    "Interpolation",
    "Layout",
    "MaskedNetwork",
    "MultiHeadNetwork",
    "Network",
    "Preparation",
    "RepresentedNetwork",
    "Site",
    "StackedLinear",
    "architecture_of",
    "build_architecture",
    "build_backbone",
    "differing",
    "find_backbone",
    "find_head",
    "layout",
    "load_weights",
    "masked",
    "preparation_of",
    "preset_names",
    "read_weights",
    "register_backbone",
    "signature",
    "signature_digest",
    "with_new_head",
]

attach(__name__)
