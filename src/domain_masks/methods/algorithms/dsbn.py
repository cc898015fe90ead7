"""Domain-specific batch norm, DSBN (Chang et al., CVPR 2019) and DSON (Seo et al., ECCV 2020), in place of DMG's masks."""

from __future__ import annotations

from torch import nn

from domain_masks.errors import InputError
from domain_masks.methods.base import Context
from domain_masks.methods.by_domain import ByDomain
from domain_masks.methods.descriptions.masks import DescribedDSBN, DSBNSettings
from domain_masks.networks.normalised import NormalisedNetwork


class DSBN(DescribedDSBN, ByDomain):
    """One network with a copy of each batch-norm layer of T per source domain: statistics, weight and bias.

    The default is DSBN. With ``instance`` it is DSON: mean and variance are mixtures of those of the domain's batch and those
    of the image, with a share that each domain learns. At test time the domain is unknown, so the predictions of all domains
    are averaged (as in DSON; DSBN assumes a known target domain).

    The papers replace the batch norm of the whole network; here that of T is replaced, as masks are in T. ``--boundary`` names
    the first module of T (such as ``layer1``). The default is DMG's boundary or, if T then has no batch norm, one before the
    last batch-norm layer. No code of DSON is known: there is one share per domain for all layers, as in the first version of
    the paper, initially one half. Each step needs at least two images per domain, so batches are balanced.
    """

    network: NormalisedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: DSBNSettings) -> None:
        super().__init__(context, settings)
        self.network = _normalised(backbone, context, settings)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return ``body``, ``head``, and with ``instance`` the shares as ``mixing``."""
        mixing = self.network.mixing
        return super().parameter_groups() | ({} if mixing is None else {"mixing": [mixing]})

    def domain_tensors(self) -> frozenset[str]:
        """Return the names of the domain-specific layers' tensors, and of the shares."""
        return frozenset(f"network.{name}" for name in self.network.domain_names())

    def shared_beginnings(self) -> frozenset[str]:
        """Return the names of the layers' tensors: a single batch-norm layer initialises those of every domain."""
        return self.domain_tensors() - {"network.mixing"}


def _normalised(backbone: nn.Module, context: Context, settings: DSBNSettings) -> NormalisedNetwork:
    size, domains = context.image_size, len(context.sources)
    usual = context.boundary or context.boundary_of(backbone)
    places = [usual]
    if context.boundary is None:
        names = [
            name for name, module in backbone.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        # Before the module that contains the last batch norm, if the network can be split there, else directly before it.
        places += [place for name in names[-1:] for place in (name.rpartition(".")[0], name) if place]
    problems = []
    for place in places:
        try:
            return NormalisedNetwork(backbone, domains, place, size, settings.instance)
        except InputError as error:
            problems.append(error)
    raise problems[0]
