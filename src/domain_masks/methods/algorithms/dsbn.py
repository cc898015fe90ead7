"""Batch norm by domain: DSBN (Chang et al., CVPR 2019) and DSON (Seo et al., ECCV 2020), in the place of DMG's masks."""

from __future__ import annotations

from torch import nn

from domain_masks.errors import InputError
from domain_masks.methods.base import Context
from domain_masks.methods.by_domain import ByDomain
from domain_masks.methods.descriptions.masks import DescribedDSBN, DSBNSettings
from domain_masks.networks.normalised import NormalisedNetwork


class DSBN(DescribedDSBN, ByDomain):
    """One network, whose layers of batch norm in T exist once per source domain: statistics, weight and bias.

    The default is DSBN, which knows domains by nothing else. With ``instance`` it is DSON: mean and variance are a mixture of
    the domain's batch and of the image itself, in a share that each domain learns. At test time, where no domain is known, the
    predictions by all domains are averaged (DSON; DSBN was made for a known target domain).

    The papers replace every layer of the network; here those of T, as masks are of T: ``--boundary`` says where it begins (such
    as ``layer1``), by default where DMG's does, or, if nothing is normalised from there on, before the last layer of batch
    norm. No code of DSON is known: the share is one per domain for all layers, as the first version of the paper says, and
    begins at one half. In a step every domain needs two images at least, so that batches are balanced.
    """

    network: NormalisedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: DSBNSettings) -> None:
        super().__init__(context, settings)
        self.network = _normalised(backbone, context, settings)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return body, head, and with ``instance`` the shares as ``mixing``."""
        mixing = self.network.mixing
        return super().parameter_groups() | ({} if mixing is None else {"mixing": [mixing]})

    def domain_tensors(self) -> frozenset[str]:
        """Return the names of the layers' tensors, and of the shares."""
        return frozenset(f"network.{name}" for name in self.network.domain_names())

    def shared_beginnings(self) -> frozenset[str]:
        """Return the names of the layers' tensors: a network with one layer for all domains begins each of them."""
        return self.domain_tensors() - {"network.mixing"}


def _normalised(backbone: nn.Module, context: Context, settings: DSBNSettings) -> NormalisedNetwork:
    size, domains = context.image_size, len(context.sources)
    usual = context.boundary or context.boundary_of(backbone)
    places = [usual]
    if context.boundary is None:
        names = [
            name for name, module in backbone.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        # Before what holds the last one, if the network can be divided there, or directly before it.
        places += [place for name in names[-1:] for place in (name.rpartition(".")[0], name) if place]
    problems = []
    for place in places:
        try:
            return NormalisedNetwork(backbone, domains, place, size, settings.instance)
        except InputError as error:
            problems.append(error)
    raise problems[0]
