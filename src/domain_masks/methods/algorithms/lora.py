"""Domain-specific LoRA: a low-rank adapter per source domain (after Hu et al., ICLR 2022) in place of DMG's masks."""

from __future__ import annotations

from torch import nn

from domain_masks.errors import InputError
from domain_masks.methods.base import Context
from domain_masks.methods.by_domain import ByDomain
from domain_masks.methods.descriptions.masks import DescribedLoRA, LoRASettings
from domain_masks.networks.adapted import AdaptedNetwork
from domain_masks.networks.presets import layout


class LoRA(DescribedLoRA, ByDomain):
    """One network with an adapter of rank r per source domain on the inputs of its upper layers.

    At the sites where DMG multiplies the input's channels x by a mask, T computes with x + (α/r) B_d A_d x for each image's
    domain d. Before a linear layer with weight W this equals LoRA's update W + ΔW_d, ΔW_d = (α/r) W B_d A_d of rank r; before
    a block it equals an update of each of its layers that take the input. Scale and initialisation (A random, B zero) are
    LoRA's, as in peft. The network is trained together with the adapters, as with masks: it is not frozen. At test time the
    predictions of all adapters are averaged. This combination is not from a paper.
    """

    network: AdaptedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: LoRASettings) -> None:
        super().__init__(context, settings)
        chosen, domains = layout(backbone, context.sites, context.boundary), len(context.sources)
        try:
            self.network = AdaptedNetwork(
                backbone, domains, chosen.sites, chosen.boundary, context.image_size, settings.rank, settings.alpha
            )
        except InputError as error:
            raise InputError(f"method.{error}" if str(error).startswith("rank: ") else str(error)) from error

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return ``body``, ``head`` and ``adapters``."""
        return {**super().parameter_groups(), "adapters": [*self.network.down.values(), *self.network.up.values()]}

    def domain_tensors(self) -> frozenset[str]:
        """Return the names of the adapters."""
        return frozenset(name for name in self.state_dict() if name.startswith(("network.down.", "network.up.")))
