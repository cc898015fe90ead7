"""Multi-Headed: a shared network with one last layer per source (the paper's second baseline, Section 4.1)."""

from __future__ import annotations

from torch import nn

from domain_masks.methods.base import Context
from domain_masks.methods.by_domain import ByDomain
from domain_masks.methods.descriptions.baselines import DescribedMultiHeaded, MultiHeadedSettings
from domain_masks.networks import MultiHeadNetwork, find_head


class MultiHeaded(DescribedMultiHeaded, ByDomain):
    """Each image trains its own domain's head; at test time the predictions of all heads are averaged."""

    network: MultiHeadNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: MultiHeadedSettings) -> None:
        super().__init__(context, settings)
        self.network = MultiHeadNetwork(
            backbone,
            len(context.sources),
            find_head(backbone),
            context.boundary_of(backbone),
            context.image_size,
            context.head_initialisation,
        )
        if settings.batch_norm == "fixed":
            self.network.keep_statistics()

    def domain_tensors(self) -> frozenset[str]:
        """Return the names of the stacked heads."""
        head = f"network.network.{self.network.head}."
        return frozenset(name for name in self.state_dict() if name.startswith(head))
